"""From a `lora_xs` adapter to a plain LoRA checkpoint, which every server loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
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

CARD = """---
library_name: peft
{front}tags:
- lora
---

# LoRA adapter{of}

A `lora_xs` adapter (W0 + s B R A) as a plain LoRA of rank {r} in {dtype}, by lorasb.
PEFT loads it without lorasb:

```python
from peft import PeftModel

model = PeftModel.from_pretrained(base_model, "folder of this file")
```
"""


def export_lora(
    model: PeftModel | PreTrainedModel,
    folder: Path | str,
    adapter_name: str = "default",
    *,
    dtype: torch.dtype = torch.float32,
    reduce_rank: bool = False,
) -> None:
    """Write an adapter as a LoRA of the same rank, without any approximation.

    s B R A = B' A' with A' = A (r, in) and B' = s B R (out, r), float32; the LoRA's scaling
    lora_alpha / r is 1. A layer of a smaller rank gets rows and columns of zeros: servers read one
    rank, or one alpha, for all. In bfloat16 the file has half the size, and each entry of A' and B'
    is off by a share of 2^-8 at most, in float16 of 2^-11. Modules in `modules_to_save` are kept.
    A model with the adapter by transformers' own `add_adapter` is written the same way. Loading
    needs neither lorasb nor the newest PEFT: of the configuration only what differs from PEFT's
    defaults is written. A model card goes with it, unless the folder has one.

    `reduce_rank` leaves out the directions that R sends to zero: those of its singular values that
    are at most r 2^-23 of the largest, the rounding of float32. All layers then have the largest
    rank that one of them needs.

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
    factors = _reduced if reduce_rank else _factors
    pairs = {name: factors(layer, adapter_name) for name, layer in layers.items()}
    rank = max(len(A) for _, A in pairs.values())
    for name, (B, A) in pairs.items():
        missing = rank - len(A)
        tensors[f"{name}.lora_A.weight"] = F.pad(A, (0, 0, 0, missing)).to(dtype)
        tensors[f"{name}.lora_B.weight"] = F.pad(B, (0, missing)).to(dtype)
    with atomic(folder / "adapter_model.safetensors") as partial:
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            partial,
            {"format": "pt"},
        )
    write_json(folder / "adapter_config.json", _lora_config(config, rank, layers))
    if not (folder / "README.md").exists():
        with atomic(folder / "README.md") as partial:
            partial.write_text(_card(config, rank, dtype), encoding="utf-8")


def _factors(layer: LoraXSLayer, adapter_name: str) -> tuple[Tensor, Tensor]:
    """B' (out, r) and A' (r, in), float32."""
    B, R, A = (matrix.float() for matrix in layer.matrices(adapter_name))
    return B @ (layer.scaling[adapter_name] * R), A


def _reduced(layer: LoraXSLayer, adapter_name: str) -> tuple[Tensor, Tensor]:
    """The same without the directions that R sends to zero: s B R A = (s B U S) (V^T A)."""
    B, R, A = (matrix.float() for matrix in layer.matrices(adapter_name))
    U, S, Vt = (part.float() for part in torch.linalg.svd(R.double()))
    rounding = len(R) * torch.finfo(torch.float32).eps
    k = max(1, int(torch.linalg.matrix_rank(R.double(), rtol=rounding)))
    return B @ (layer.scaling[adapter_name] * U[:, :k] * S[:k]), Vt[:k] @ A


def _card(config: LoraXSConfig, rank: int, dtype: torch.dtype) -> str:
    base = config.base_model_name_or_path
    named = bool(base) and not Path(base).exists()  # a folder says nothing to others
    return CARD.format(
        front=f"base_model: {base}\n" if named else "",
        of=f" of {base}" if named else "",
        r=rank,
        dtype=str(dtype).removeprefix("torch."),
    )


def _lora_config(
    config: LoraXSConfig, rank: int, layers: Mapping[str, LoraXSLayer]
) -> dict[str, Any]:
    shared = (
        *("target_modules", "modules_to_save", "layers_to_transform", "layers_pattern"),
        *("trainable_token_indices", "task_type", "base_model_name_or_path", "revision"),
    )
    exported = LoraConfig(
        **{name: getattr(config, name) for name in shared},
        r=rank,
        lora_alpha=rank,
        bias=BIAS[config.bias],
        lora_dropout=config.dropout,
        fan_in_fan_out=any(layer.transposed for layer in layers.values()),
        inference_mode=True,
    )
    # PEFT knows exclude_modules from 0.14 on; SGLang reads no regular expression
    if config.exclude_modules or isinstance(config.target_modules, str):
        exported.target_modules = {base_name(name) for name in layers}
    defaults = LoraConfig().to_dict()
    return {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in exported.to_dict().items()
        if key in ALWAYS or value != defaults[key]
    }
