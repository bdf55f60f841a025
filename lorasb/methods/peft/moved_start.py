"""LoRA that PEFT starts inside the base weight: `init_lora_weights` of "pissa" or others.

Such a start s B0 A0 is taken out of the base weight, W = (W0 - s B0 A0) + s B A, so that the model
begins where it was, and the trained B, A alone do not give the change of W0 back. PEFT decomposes
W0 again when it loads them: after a randomised SVD with other random numbers, hence to another
model. Here B0 and A0 are kept with the adapter as PEFT's own conversion does,

    W = W0 + s [B, -B0] [A; A0],

a plain LoRA of rank 2r that loads anywhere. `load_moved` takes s B0 A0 out of W0 by the same
operations as `attach_moved`, so that a loaded model computes the same bits as the trained one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from lorasb.errors import UserError
from lorasb.files import atomic, load_tensors, read_json, write_json
from lorasb.models.layers import PREFIX, matching_modules, oriented_weight

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "default"

# name of the adapted module -> A0 (r, in), B0 (out, r)
Starts = dict[str, tuple[Tensor, Tensor]]


def starts_in_weight(options: Mapping[str, Any]) -> bool:
    """Whether PEFT moves the start of an adapter with these options out of the base weight.

    Raises
    ------
    UserError
        If it does, with options under which rank 2r has no scaling of exactly the same value.
    """
    init = str(options.get("init_lora_weights")).lower()
    if not init.startswith(("pissa", "olora", "corda", "lora_ga")):
        return False
    for option in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern"):
        if options.get(option):
            raise UserError(
                f"arguments.options: {option} does not go with init_lora_weights: {init}, "
                "whose adapter is kept as a plain LoRA of one rank; leave it out"
            )
    return True


def attach_moved(model: PreTrainedModel, config: peft.LoraConfig) -> peft.PeftModel:
    """Wrap the model, and take the start out of its weights as `load_moved` will.

    PEFT rounds B0 and A0 to the weight's dtype after it has taken out their unrounded product; here
    the product is that of the values which training starts from.
    """
    before = {
        name: module.weight.detach().clone()
        for name, module in matching_modules(model, config).items()
    }
    adapted = peft.get_peft_model(model, config)
    layers = lora_layers(adapted)
    start = {
        name: (
            layer.lora_A[ADAPTER].weight.detach().clone(),
            layer.lora_B[ADAPTER].weight.detach().clone(),
        )
        for name, layer in layers.items()
    }
    for name, layer in layers.items():
        layer.get_base_layer().weight.data = before.pop(name)
    _take_out(adapted, start)
    return adapted


def move_start(adapted: peft.PeftModel, start: Starts) -> None:
    """Start A and B of plain LoRA at A0 and B0, and take s B0 A0 out of the weights."""
    for name, layer in lora_layers(adapted).items():
        for factor, value in zip((layer.lora_A, layer.lora_B), start[name], strict=True):
            factor[ADAPTER].weight.data.copy_(value)
    _take_out(adapted, start)


def save_start(model: peft.PeftModel, folder: Path) -> None:
    """Turn the rank-r adapter that PEFT wrote into `folder` into the plain LoRA of rank 2r."""
    path = folder / "adapter_model.safetensors"
    tensors = load_tensors(path)
    for name, (A0, B0) in model.start_in_weight.items():
        key_A, key_B = _keys(name)
        tensors[key_A] = torch.cat([tensors[key_A], A0.cpu()])
        tensors[key_B] = torch.cat([tensors[key_B], -B0.cpu()], dim=1)
    with atomic(path) as partial:
        save_file(tensors, partial, {"format": "pt"})
    config = read_json(folder / "adapter_config.json")
    doubled = {key: 2 * config[key] for key in ("r", "lora_alpha")}
    write_json(folder / "adapter_config.json", config | doubled | {"init_lora_weights": True})


def load_moved(model: PreTrainedModel, folder: Path) -> peft.PeftModel:
    """The model as it was trained, from what `save_start` left in `folder`."""
    config = peft.PeftConfig.from_pretrained(folder)
    tensors = load_tensors(folder / "adapter_model.safetensors")
    rank, alpha = config.r // 2, config.lora_alpha
    # both were doubled: halves are exact, and s is what it was
    config.r, config.lora_alpha = rank, type(alpha)(alpha / 2)
    config.inference_mode = True
    with torch.random.fork_rng():
        adapted = peft.PeftModel(model, config)
    start: Starts = {}
    for name in lora_layers(adapted):
        key_A, key_B = _keys(name)
        A, B = tensors[key_A], tensors[key_B]
        start[name] = A[rank:], -B[:, rank:].contiguous()
        tensors[key_A], tensors[key_B] = A[:rank], B[:, :rank]
    peft.set_peft_model_state_dict(adapted, tensors)
    _take_out(adapted, start)
    return adapted.eval()


def _take_out(adapted: peft.PeftModel, start: Starts) -> None:
    """W0 - s B0 A0 in float32, cast to the weight's dtype; the start stays with the model.

    A start that comes from a file is moved to the weight's device.
    """
    adapted.start_in_weight = {}
    for name, layer in lora_layers(adapted).items():
        base = layer.get_base_layer()
        A0, B0 = (factor.to(base.weight.device) for factor in start[name])
        adapted.start_in_weight[name] = A0, B0
        moved = layer.scaling[ADAPTER] * (B0.float() @ A0.float())
        left = (oriented_weight(base).float() - moved).to(base.weight.dtype)
        base.weight.data = (left.T if layer.fan_in_fan_out else left).contiguous()


def lora_layers(adapted: peft.PeftModel) -> dict[str, LoraLayer]:
    """The adapted layers, by their names in the base model."""
    modules = adapted.get_base_model().named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLayer)}


def _keys(name: str) -> tuple[str, str]:
    return f"{PREFIX}{name}.lora_A.weight", f"{PREFIX}{name}.lora_B.weight"
