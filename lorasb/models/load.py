"""Base models: load them, or look at their shapes without any weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
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

from lorasb.errors import UserError
from lorasb.files import check_readable
from lorasb.models.gguf_files import unpacked
from lorasb.models.layers import head_parameters, is_inside
from lorasb.models.reading import REFUSED, reading
from lorasb.models.spec import Kind, ModelSpec

HEAD_STD = 0.02  # of a new task head's weights, as BERT and its kin are initialised
AGAIN = "fetch or build the model again"
PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}

# transformers would ask a service of the hub to convert weights, and take what it wrote
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")


def load_tokenizer(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a padding token.

    Where a tokenizer has none, its end-of-text token pads: attention masks and labels are explicit
    everywhere, so a token's id never decides whether it is padding.
    """
    named, spec = spec.source, unpacked(spec)
    _check_objects(spec, "config.json", "tokenizer.json", "tokenizer_config.json")
    with reading(spec.source, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(spec.source, **_options(spec))
    tokenizer.name_or_path = named  # where it is cached is no part of what it is
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
        If the weights are missing, damaged, incomplete or out of reach, if they are pickled and
        the description does not allow that, or if the model cannot do tasks of this kind.
    """
    head = spec.head_modules(kind)
    tokenizer, spec = load_tokenizer(spec), unpacked(spec)
    config = _base_config(spec, spec.source, kind, num_labels)
    _check_objects(spec, "generation_config.json", "model.safetensors.index.json")
    _check_weights(spec)
    with reading(spec.source, "weights"), torch.random.fork_rng(devices=[]):
        model, report = _auto_class(kind).from_pretrained(
            spec.source,
            config=config,
            dtype=spec.torch_dtype,
            output_loading_info=True,
            # refused below, by name
            ignore_mismatched_sizes=True,
            # None: the first format that there is
            use_safetensors=None if spec.pickled_weights else True,
            **_options(spec),
        )
    _refuse_missing(spec, head, report["missing_keys"])
    _refuse_other_shapes(spec, head, report["mismatched_keys"])
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
    spec = spec if spec.architecture else unpacked(spec)
    source = spec.architecture or spec.source
    config = _base_config(spec, source, kind, num_labels)
    fork = torch.random.fork_rng(devices=[])
    with reading(source, "architecture"), fork, torch.device("meta"):
        return _auto_class(kind).from_config(config)


def _auto_class(kind: Kind) -> Any:
    return AutoModelForCausalLM if kind == "generation" else AutoModelForSequenceClassification


def _options(spec: ModelSpec) -> dict[str, Any]:
    """What every reader is told; code that comes with a model is never run."""
    revision = {"revision": spec.revision} if spec.revision else {}
    return {"trust_remote_code": False, **revision}


def _base_config(spec: ModelSpec, source: str, kind: Kind, num_labels: int) -> PreTrainedConfig:
    if source == spec.architecture:
        _check_object(Path(source))
    elif spec.path is not None:
        _check_folder(spec)
        _check_object(Path(source) / "config.json")
    with reading(source, "config.json"):
        options = _options(spec) | {"attn_implementation": spec.attention}
        config = AutoConfig.from_pretrained(source, **options)
    if kind == "generation" and config.is_encoder_decoder:
        raise UserError(
            f"{source}: a sequence-to-sequence model ({config.model_type}); generation tasks need "
            "a decoder alone"
        )
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


def _refuse_other_shapes(
    spec: ModelSpec, head: Sequence[str], found: Iterable[tuple[str, Sequence[int], Sequence[int]]]
) -> None:
    other = sorted(row for row in found if not is_inside(row[0], head))
    if other:
        name, stored, wanted = other[0]
        raise UserError(
            f"{spec.source}: {len(other)} weights have other shapes than config.json says, first "
            f"'{name}' with {tuple(stored)} in place of {tuple(wanted)}; {AGAIN}"
        )


def _check_folder(spec: ModelSpec) -> None:
    if spec.path is not None and not Path(spec.path).is_dir():
        raise UserError(f"{spec.path}: no such folder; it should hold the model {spec.label}")


def _check_objects(spec: ModelSpec, *names: str) -> None:
    """Refuse files of a model's folder that are there and hold no JSON object."""
    _check_folder(spec)
    for path in (Path(spec.path or "", name) for name in names):
        if spec.path is not None and path.exists():
            _check_object(path)


def _check_object(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file; {AGAIN}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # no JSON, or no UTF-8
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object; {AGAIN}")


def _check_weights(spec: ModelSpec) -> None:
    """Refuse weights in a folder that may not be read, or that only pickle can read."""
    if spec.path is None:
        return
    found = sorted(Path(spec.path).glob("*.safetensors"))
    for path in found:
        check_readable(path)  # safetensors would call it missing
    pickled = [path for path in sorted(Path(spec.path).iterdir()) if path.suffix in PICKLED]
    if pickled and not found and not spec.pickled_weights:
        raise UserError(f"{pickled[0]}: {REFUSED}")
