"""From a `lora_xs` adapter to a plain LoRA checkpoint, which every server loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.files import atomic, write_json
from lorasb.models.layers import COMPILED, PREFIX, base_name, unwrapped
from lorasb.tuner import LoraXSConfig, LoraXSLayer

# what loaders read without looking at PEFT's defaults
ALWAYS = ("peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path")

BIAS = {"none": "none", "all": "all", "lora_xs_only": "lora_only"}


def export_lora(
    model: PeftModel | PreTrainedModel,
    folder: Path | str,
    adapter_name: str = "default",
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write an adapter as a LoRA of the same rank, without any approximation.

    s B R A = B' A' with A' = A (r, in) and B' = s B R (out, r), float32; the LoRA's scaling
    lora_alpha / r is 1. In bfloat16 the file has half the size, and each entry of A' and B' is off
    by a share of 2^-8 at most, in float16 of 2^-11. Modules in `modules_to_save` are kept. A model
    with the adapter by transformers' own `add_adapter` is written the same way. Loading needs
    neither lorasb nor the newest PEFT: of the configuration only what differs from PEFT's defaults
    is written.

    Raises
    ------
    UserError
        If the model has no `lora_xs` adapter of that name, it is still empty, or `dtype` is not
        one of floating point of at least 16 bits.
    """
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise UserError(f"export_lora: dtype {dtype}; it should be float32, bfloat16 or float16")
    model = unwrapped(model)
    config = getattr(model, "peft_config", {}).get(adapter_name)
    if not isinstance(config, LoraXSConfig):
        raise UserError(f"the model has no lora_xs adapter '{adapter_name}' to export")
    folder = Path(folder)
    prefix = "" if isinstance(model, PeftModel) else PREFIX
    layers = {
        prefix + name.replace(COMPILED, ""): module
        for name, module in model.named_modules()
        if isinstance(module, LoraXSLayer) and adapter_name in module.r
    }
    kept = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
    tensors = {prefix + name: value for name, value in kept.items() if ".lora_xs_" not in name}
    for name, layer in layers.items():
        lora = _lora_tensors(name, layer, adapter_name)
        tensors |= {name: value.to(dtype) for name, value in lora.items()}
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
