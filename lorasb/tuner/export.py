"""From a `lora_xs` adapter to a plain LoRA checkpoint, which every server loads."""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from lorasb.errors import UserError
from lorasb.files import atomic, write_json
from lorasb.tuner import LoraXSConfig, LoraXSLayer


def export_lora(model: PeftModel, folder: Path | str, adapter_name: str = "default") -> None:
    """Write an adapter as a LoRA of the same rank, without any approximation.

    s B R A = B' A' with A' = A (r, in) and B' = s B R (out, r), float32; the LoRA's scaling
    lora_alpha / r is 1. Modules in `modules_to_save` are kept. Loading it does not need lorasb.

    Raises
    ------
    UserError
        If the model has no `lora_xs` adapter of that name.
    """
    config = model.peft_config.get(adapter_name)
    if not isinstance(config, LoraXSConfig):
        raise UserError(f"the model has no lora_xs adapter '{adapter_name}' to export")
    folder = Path(folder)
    layers = {
        name: module for name, module in model.named_modules() if isinstance(module, LoraXSLayer)
    }
    exported = _lora_config(config, transposed=any(layer.transposed for layer in layers.values()))
    kept = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
    tensors = {name: value for name, value in kept.items() if ".lora_xs_" not in name}
    for name, layer in layers.items():
        if adapter_name in layer.r:
            tensors |= _lora_tensors(name, layer, adapter_name)
    with atomic(folder / "adapter_model.safetensors") as partial:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            partial,
            {"format": "pt"},
        )
    values = exported.to_dict().items()
    write_json(
        folder / "adapter_config.json",
        {key: sorted(value) if isinstance(value, set) else value for key, value in values},
    )


def _lora_tensors(name: str, layer: LoraXSLayer, adapter_name: str) -> dict[str, Tensor]:
    R = layer.scaling[adapter_name] * layer.lora_xs_R[adapter_name]
    return {
        f"{name}.lora_A.weight": layer.lora_xs_A[adapter_name],
        f"{name}.lora_B.weight": layer.lora_xs_B[adapter_name] @ R,
    }


def _lora_config(config: LoraXSConfig, *, transposed: bool) -> LoraConfig:
    shared = (
        *("r", "target_modules", "exclude_modules", "modules_to_save"),
        *("layers_to_transform", "layers_pattern"),
        *("task_type", "base_model_name_or_path", "revision"),
    )
    return LoraConfig(
        **{name: getattr(config, name) for name in shared},
        lora_alpha=config.r,
        lora_dropout=config.dropout,
        fan_in_fan_out=transposed,
        inference_mode=True,
    )
