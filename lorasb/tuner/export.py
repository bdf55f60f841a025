"""From a `lora_xs` adapter to a plain LoRA checkpoint, which every server loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from lorasb.errors import UserError
from lorasb.files import atomic, write_json
from lorasb.models.layers import COMPILED, base_name, unwrapped
from lorasb.tuner import LoraXSConfig, LoraXSLayer

# what loaders read without looking at PEFT's defaults
ALWAYS = ("peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path")

BIAS = {"none": "none", "all": "all", "lora_xs_only": "lora_only"}


def export_lora(model: PeftModel, folder: Path | str, adapter_name: str = "default") -> None:
    """Write an adapter as a LoRA of the same rank, without any approximation.

    s B R A = B' A' with A' = A (r, in) and B' = s B R (out, r), float32; the LoRA's scaling
    lora_alpha / r is 1. Modules in `modules_to_save` are kept. Loading it does not need lorasb, nor
    the newest PEFT: of the configuration only what differs from PEFT's defaults is written.

    Raises
    ------
    UserError
        If the model has no `lora_xs` adapter of that name, or it is still empty.
    """
    model = unwrapped(model)
    config = model.peft_config.get(adapter_name)
    if not isinstance(config, LoraXSConfig):
        raise UserError(f"the model has no lora_xs adapter '{adapter_name}' to export")
    folder = Path(folder)
    layers = {
        name.replace(COMPILED, ""): module
        for name, module in model.named_modules()
        if isinstance(module, LoraXSLayer) and adapter_name in module.r
    }
    kept = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
    tensors = {name: value for name, value in kept.items() if ".lora_xs_" not in name}
    for name, layer in layers.items():
        tensors |= _lora_tensors(name, layer, adapter_name)
    with atomic(folder / "adapter_model.safetensors") as partial:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            partial,
            {"format": "pt"},
        )
    write_json(folder / "adapter_config.json", _lora_config(config, layers))


def _lora_tensors(name: str, layer: LoraXSLayer, adapter_name: str) -> dict[str, Tensor]:
    B, R, A = (matrix.float() for matrix in layer.matrices(adapter_name))
    return {
        f"{name}.lora_A.weight": A,
        f"{name}.lora_B.weight": B @ (layer.scaling[adapter_name] * R),
    }


def _lora_config(config: LoraXSConfig, layers: Mapping[str, LoraXSLayer]) -> dict[str, Any]:
    shared = (
        *("r", "target_modules", "modules_to_save"),
        *("layers_to_transform", "layers_pattern", "rank_pattern", "trainable_token_indices"),
        *("task_type", "base_model_name_or_path", "revision"),
    )
    exported = LoraConfig(
        **{name: getattr(config, name) for name in shared},
        lora_alpha=config.r,
        alpha_pattern=config.rank_pattern,
        bias=BIAS[config.bias],
        lora_dropout=config.dropout,
        fan_in_fan_out=any(layer.transposed for layer in layers.values()),
        inference_mode=True,
    )
    if config.exclude_modules:  # which PEFT knows from 0.14 on
        exported.target_modules = {base_name(name) for name in layers}
    defaults = LoraConfig().to_dict()
    return {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in exported.to_dict().items()
        if key in ALWAYS or value != defaults[key]
    }
