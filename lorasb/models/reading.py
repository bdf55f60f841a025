"""What is set and mended around every call of transformers that reads a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import shorten

from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from safetensors import SafetensorError
from transformers.utils import logging

from lorasb.errors import UserError
from lorasb.hub import cached_without_network, not_cached

REFUSED = (
    "weights by pickle, which can run code; convert them to safetensors, "
    "or allow them with pickled_weights: true in the model's file of config/models"
)
LONGEST = 300  # characters that are kept of what a library says


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' reports on loading; bars of downloads stay."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    downloads = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def reading(source: str, what: str) -> Iterator[None]:
    """What is set and mended around every call of transformers that reads a model."""
    cached = nullcontext() if Path(source).exists() else cached_without_network()
    with _quiet(), _one_line_errors(source, what), cached:
        yield


@contextmanager
def _one_line_errors(source: str, what: str) -> Iterator[None]:
    """Turn what transformers raises for missing, damaged or foreign files into a UserError."""
    try:
        yield
    except SafetensorError as error:
        raise UserError(
            f"{source}: the weights cannot be read, the file is damaged or cut off ({error}); "
            "delete it and fetch or build it again"
        ) from error
    except OSError as error:
        if error.errno is not None:  # of the system, with the file's name
            raise
        raise UserError(_explain(source, error)) from error
    except Exception as error:  # files that its code does not expect raise anything there
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{source}: needs code of its own, which is never run; "
                "take a model whose architecture transformers has"
            ) from error
        raise UserError(
            f"{source}: its {what} cannot be read ({type(error).__name__}: {_line(error)}); it is "
            "missing or damaged, or the architecture is unknown or cannot do this kind of task"
        ) from error


def _explain(source: str, error: OSError) -> str:
    if isinstance(error.__cause__, LocalEntryNotFoundError):
        return str(not_cached(source))
    if "use_safetensors" in str(
        error
    ):  # what transformers asks for where the hub has other weights
        return f"{source}: {REFUSED}"
    return f"{source}: {_line(error)}"


def _line(error: Exception) -> str:
    return shorten(str(error), LONGEST, placeholder=" ...")
