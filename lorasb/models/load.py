"""Base models: load them, or look at their shapes without any weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from lorasb.errors import UserError
from lorasb.models.layers import head_parameters, is_inside
from lorasb.models.spec import Kind, ModelSpec

HEAD_STD = 0.02  # of a new task head's weights, as BERT and its kin are initialised


def load_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token.

    Where a tokenizer has none, its end-of-text token pads: attention masks and labels are explicit
    everywhere, so a token's id never decides whether it is padding.
    """
    with _quiet(), _one_line_errors(spec):
        tokenizer = AutoTokenizer.from_pretrained(spec.source, **_revision(spec))
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(f"{spec.source}: its tokenizer has neither a pad nor an eos token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    spec: ModelSpec, *, kind: Kind, num_labels: int, generator: torch.Generator
) -> PreTrainedModel:
    """The base model on the CPU, in evaluation mode, in the dtype of its description.

    A task head is started anew from `generator`: weights from N(0, 0.02^2), biases zero. The
    state of the global random generators is left as it was. `num_labels` is ignored for
    generation.

    Raises
    ------
    UserError
        If the weights are missing, damaged, incomplete or out of reach, or if the model cannot do
        tasks of this kind.
    """
    head = spec.head_modules(kind)
    tokenizer = load_tokenizer(spec)
    config = _base_config(spec, spec.source, kind, num_labels)
    with _quiet(), _one_line_errors(spec), torch.random.fork_rng(devices=[]):
        model, report = _auto_class(kind).from_pretrained(
            spec.source,
            config=config,
            dtype=spec.torch_dtype,
            output_loading_info=True,
            **_revision(spec),
        )
    _refuse_missing(spec, head, report["missing_keys"])
    model.config.pad_token_id = tokenizer.pad_token_id
    if kind == "generation":
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    _start_head(model, head, generator)
    return model.eval()


def skeleton(spec: ModelSpec, *, kind: Kind, num_labels: int) -> PreTrainedModel:
    """The model on the meta device: every shape, no weights.

    Needs no network where the description names an `architecture` or a `path`.
    """
    spec.head_modules(kind)  # refuses a kind that the model cannot do
    config = _base_config(spec, spec.architecture or spec.source, kind, num_labels)
    with _quiet(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        return _auto_class(kind).from_config(config)


def _auto_class(kind: Kind) -> Any:
    return AutoModelForCausalLM if kind == "generation" else AutoModelForSequenceClassification


def _revision(spec: ModelSpec) -> dict[str, str]:
    return {"revision": spec.revision} if spec.revision else {}


def _base_config(spec: ModelSpec, source: str, kind: Kind, num_labels: int) -> PreTrainedConfig:
    with _quiet(), _one_line_errors(spec):
        config = AutoConfig.from_pretrained(source, **_revision(spec))
    if kind != "generation":
        config.num_labels = num_labels
        single = "single_label_classification"
        config.problem_type = "regression" if kind == "regression" else single
    return config


def _start_head(model: nn.Module, head: Sequence[str], generator: torch.Generator) -> None:
    for name, parameter in head_parameters(model, head).items():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            # drawn in float32, so that one seed gives one head whatever the dtype
            drawn = torch.empty(parameter.shape).normal_(0.0, HEAD_STD, generator=generator)
            parameter.data.copy_(drawn)


def _refuse_missing(spec: ModelSpec, head: Sequence[str], missing: set[str]) -> None:
    lost = sorted(name for name in missing if not is_inside(name, head))
    if lost:
        raise UserError(
            f"{spec.source}: the weights lack {len(lost)} tensors of the model, first '{lost[0]}'; "
            "wrong kind of model, or an incomplete file"
        )


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
def _one_line_errors(spec: ModelSpec) -> Iterator[None]:
    """Turn what transformers raises for missing or damaged files into a UserError."""
    if spec.path is not None and not Path(spec.path).is_dir():
        raise UserError(f"{spec.path}: no such folder; it should hold the model {spec.label}")
    try:
        yield
    except SafetensorError as error:
        raise UserError(
            f"{spec.source}: the weights cannot be read, the file is damaged or cut off ({error}); "
            "delete it and fetch or build it again"
        ) from error
    except OSError as error:
        raise UserError(_explain(spec, error)) from error


def _explain(spec: ModelSpec, error: OSError) -> str:
    if isinstance(error.__cause__, LocalEntryNotFoundError):
        return (
            f"no network and nothing cached: {spec.source}; run once with a network, "
            "or set HF_HOME to a cache that holds it"
        )
    return f"{spec.source}: {' '.join(str(error).split())}"
