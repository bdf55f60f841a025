"""Base models: load them, or look at their shapes without any weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

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
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from lorasb.errors import UserError

Kind = Literal["generation", "classification", "regression"]
Linear: TypeAlias = nn.Linear | Conv1D

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HEAD_STD = 0.02  # of a new task head's weights, as BERT and its kin are initialised


@dataclass(frozen=True)
class ModelSpec:
    """A base model as `config/models/{slug}.yaml` has it; `config/README.md` explains the keys."""

    label: str
    hub_id: str | None
    path: str | None
    revision: str | None
    dtype: str
    architecture: str | None
    kinds: Sequence[Kind]
    target_modules: Sequence[str]
    task_head: Sequence[str]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelSpec:
        """Build it from the mapping that the YAML file holds."""
        spec = cls(**{field.name: config[field.name] for field in fields(cls)})
        if (spec.hub_id is None) == (spec.path is None):
            raise UserError(
                f"model {spec.label}: give either hub_id or path and set the other to null"
            )
        if spec.dtype not in DTYPES:
            raise UserError(
                f"model {spec.label}: unknown dtype '{spec.dtype}'; known: {', '.join(DTYPES)}"
            )
        return spec

    @property
    def source(self) -> str:
        """Where the weights come from: a folder or a hub id."""
        return str(self.path or self.hub_id)

    def head_modules(self, kind: Kind) -> list[str]:
        """Modules started anew and trained besides the adapter; none for generation."""
        if kind not in self.kinds:
            raise UserError(
                f"model {self.label} cannot do {kind}; it does: {', '.join(self.kinds)}"
            )
        return [] if kind == "generation" else list(self.task_head)


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
            dtype=DTYPES[spec.dtype],
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


def matching_modules(
    model: nn.Module, target_modules: Sequence[str], exclude: Sequence[str] = ()
) -> dict[str, Linear]:
    """The linear layers that an adapter changes, by name, in the model's order.

    PEFT's rule: a target is a layer's whole name, or its end after a dot. Layers inside a module
    of `exclude` (the task head) never match.

    Raises
    ------
    UserError
        If a target matches no linear layer.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Linear) and not _is_inside(name, exclude)
    }
    for target in target_modules:
        if not any(_matches(name, target) for name in layers):
            ends = sorted({name.rsplit(".", 1)[-1] for name in layers})
            raise UserError(
                f"target module '{target}' matches no linear layer of {type(model).__name__}; "
                f"their names end in: {', '.join(ends)}"
            )
    return {
        name: module
        for name, module in layers.items()
        if any(_matches(name, target) for target in target_modules)
    }


def target_shapes(
    model: nn.Module, target_modules: Sequence[str], exclude: Sequence[str] = ()
) -> dict[str, tuple[int, int]]:
    """Shapes (out, in) of the weights that `matching_modules` finds."""
    modules = matching_modules(model, target_modules, exclude)
    return {name: _shape(module) for name, module in modules.items()}


def oriented_weight(module: Linear) -> torch.Tensor:
    """The layer's weight as (out, in), detached; transformers' Conv1D keeps it the other way."""
    weight = module.weight.detach()
    return weight.T if isinstance(module, Conv1D) else weight


def head_parameters(model: nn.Module, head: Sequence[str]) -> dict[str, nn.Parameter]:
    """Parameters of the task head, by name.

    Raises
    ------
    UserError
        If a module of `head` is not in the model.
    """
    parameters = dict(model.named_parameters())
    for module in head:
        if not any(_is_inside(name, [module]) for name in parameters):
            raise UserError(f"task_head: {type(model).__name__} has no module '{module}'")
    return {name: value for name, value in parameters.items() if _is_inside(name, head)}


def _shape(module: Linear) -> tuple[int, int]:
    rows, columns = module.weight.shape
    return (columns, rows) if isinstance(module, Conv1D) else (rows, columns)


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _is_inside(name: str, modules: Sequence[str]) -> bool:
    return any(f".{module}." in f".{name}." for module in modules)


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
    lost = sorted(name for name in missing if not _is_inside(name, head))
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
