"""An adapter of LoRA-SB without its bases: R, and what the bases are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.files import atomic, load_tensors
from lorasb.linalg.svd import Factors
from lorasb.models.layers import base_name, unwrapped
from lorasb.start.factors import factors_of
from lorasb.start.gradients import each_gradient, first_samples
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from lorasb.tuner.layer import TOLERANCE, distance, fingerprint
from lorasb.tuner.without import without_adapters

FILE = "lora_sb_recipe.safetensors"
PARTS = ("R", "fingerprint")
AGAIN = "save the adapter again, or load one that was saved with its bases"

Batches = Sequence[Mapping[str, Tensor]]


def save_recipe(
    model: PeftModel,
    folder: Path | str,
    dataloader: Iterable[Mapping[str, Tensor]],
    adapter_name: str = "default",
    *,
    num_samples: int,
    **options: Any,
) -> None:
    """Write R of an adapter that `initialize_lora_sb` started, and in place of B and A a recipe.

    r^2 + 2r numbers a layer in place of r^2 + r (m + n). `dataloader` gives what it gave to
    `estimate_gradients`, in the same batches; `num_samples` and `options` are what that was called
    with. The recipe is the configuration, these settings, a hash of the samples, and a fingerprint
    of each layer's bases. It is followed once before anything is written, which takes as long as
    the estimate and its SVDs.

    Raises
    ------
    UserError
        If the model has no such adapter, it trains more than R, or samples and settings lead to
        other bases than it has.
    """
    model = unwrapped(model)
    config = model.peft_config.get(adapter_name) if isinstance(model, PeftModel) else None
    layers = _layers(model, adapter_name)
    if not isinstance(config, LoraXSConfig) or not layers:
        raise UserError(f"save_recipe: the model has no lora_xs adapter '{adapter_name}'")
    if config.modules_to_save or config.trainable_token_indices or config.bias != "none":
        raise UserError(
            "save_recipe: a recipe is for an adapter that trains R alone; this one has "
            "modules_to_save, biases or tokens, so save it by save_pretrained"
        )
    batches = list(first_samples(dataloader, num_samples))
    settings = {"num_samples": num_samples, **options}
    prints = {name: layer.fingerprint(adapter_name) for name, layer in layers.items()}
    with without_adapters(model) as base:
        _refuse_other(_factors(base, batches, config, settings), prints)
    recipe = {"config": _plain(config), "settings": settings, "data": _hash(batches)}
    tensors = {f"{name}/fingerprint": value for name, value in prints.items()}
    for name, layer in layers.items():
        tensors[f"{name}/R"] = layer.lora_xs_R[adapter_name].detach().float().cpu().contiguous()
    with atomic(Path(folder) / FILE) as partial:
        save_file(tensors, partial, {"recipe": json.dumps(recipe, sort_keys=True)})


def load_recipe(
    base: PreTrainedModel,
    folder: Path | str,
    dataloader: Iterable[Mapping[str, Tensor]],
    adapter_name: str = "default",
) -> PeftModel:
    """The adapter that `save_recipe` wrote, on a base model, with bases made from the same samples.

    They are those of training up to a share of 1e-3 (of what a fixed vector gives), or refused.
    Another machine or dtype rounds gradients in another way, and the signs of those near zero.

    Raises
    ------
    UserError
        If the file is missing or damaged, the samples have another hash, or the bases differ: of
        another base model, or on a machine that rounds differently. The model stays as it was.
    """
    path = Path(folder) / FILE
    tensors, recipe = load_tensors(path), _recipe(path)
    config, settings = _config(path, recipe), recipe["settings"]
    batches = list(first_samples(dataloader, settings["num_samples"]))
    if _hash(batches) != recipe["data"]:
        raise UserError(
            f"{path}: the first {settings['num_samples']} samples are not those that its bases "
            "were made from; give the same rows, in the same order and batches"
        )
    factors = _factors(base, batches, config, settings)
    if {f"{name}/{part}" for name in factors for part in PARTS} != tensors.keys():
        raise UserError(f"{path}: its layers are not those of this model that it names; {AGAIN}")
    _refuse_other(factors, {name: tensors[f"{name}/fingerprint"] for name in factors})
    model = get_peft_model(base, config, adapter_name)
    for name, layer in _layers(model, adapter_name).items():
        R = tensors[f"{name}/R"]
        layer.fill(adapter_name, factors[name].U, torch.zeros_like(R), factors[name].V.T)
        layer.lora_xs_R[adapter_name].data.copy_(R)
    return model


def _layers(model: PeftModel, adapter_name: str) -> dict[str, LoraXSLayer]:
    return {
        base_name(name): module
        for name, module in model.named_modules()
        if isinstance(module, LoraXSLayer) and adapter_name in module.r
    }


def _factors(
    base: PreTrainedModel, batches: Batches, config: LoraXSConfig, settings: Mapping[str, Any]
) -> dict[str, Factors]:
    gradients = each_gradient(base, batches, target_modules=config, **settings)
    return {
        name: factors_of(name, gradient, config.of_layer(name).r, step="sign")
        for name, gradient in gradients
    }


def _refuse_other(factors: Mapping[str, Factors], prints: Mapping[str, Tensor]) -> None:
    for name, stored in prints.items():
        away = distance(fingerprint(name, factors[name].U, factors[name].V.T), stored)
        if not away <= TOLERANCE:
            raise UserError(
                f"{name}: the recipe gives other bases than those of training ({away:.0e} away); "
                "use its base model in the same dtype, its samples and settings, on the same kind "
                "of machine, or save the adapter with its bases"
            )


def _plain(config: LoraXSConfig) -> dict[str, Any]:
    """A new adapter's configuration, as JSON has it."""
    said = asdict(config) | {"inference_mode": False, "init_weights": "empty"}
    del said["peft_type"], said["save_bases"]
    return {key: sorted(v) if isinstance(v, set) else v for key, v in said.items()}


def _recipe(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("recipe")
    if text is None:
        raise UserError(f"{path}: it has no recipe; {AGAIN}")
    found: dict[str, Any] = json.loads(text)
    return found


def _config(path: Path, recipe: Mapping[str, Any]) -> LoraXSConfig:
    unknown = recipe["config"].keys() - {field.name for field in fields(LoraXSConfig)}
    if unknown:
        raise UserError(
            f"{path}: it has a setting '{min(unknown)}', which this release of lorasb does not "
            "know; install the one that wrote it"
        )
    return LoraXSConfig(**recipe["config"])


def _hash(batches: Batches) -> str:
    """Of the samples: names, types, shapes and bytes of their tensors."""
    digest = hashlib.sha256()
    for batch in batches:
        for name, value in sorted(batch.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
