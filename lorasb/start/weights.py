"""Factors of the base weights themselves, from which LoRA-XS starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from accelerate.utils import align_module_device
from transformers import PreTrainedModel

from lorasb.linalg.svd import Factors
from lorasb.models.layers import linear_shape, matching_modules, oriented_weight, unwrapped
from lorasb.seeding import generator
from lorasb.start.factors import factors_of
from lorasb.start.offloaded import refuse_hollow
from lorasb.tuner.layer import check_rank

if TYPE_CHECKING:
    from peft import PeftConfig


def weight_factors(
    model: PreTrainedModel,
    *,
    rank: int,
    target_modules: Sequence[str] | str | PeftConfig,
    exclude: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Factors]:
    """Truncated SVDs of the target weights, for `initialize_lora_xs` (LoRA-XS, arXiv 2405.17604).

    The same bit by bit as what an adapter of `LoraXSConfig(r=rank, seed=seed)` finds in the model.
    Of one that was loaded with `device_map={"": "disk"}`, straight from a checkpoint's shards, one
    weight is in memory at a time. `target_modules` and `exclude` are those of `matching_modules`.

    Returns factors of the (out, in) weights, float32 on the CPU, by the modules' names.

    Raises
    ------
    UserError
        If a target matches nothing or what is no plain linear layer, the rank is too large, or a
        weight is nowhere or not finite; names the module.
    """
    modules = matching_modules(unwrapped(model), target_modules, exclude)
    refuse_hollow(modules)
    for name, module in modules.items():
        check_rank(name, rank, linear_shape(module))
    factors = {}
    for name, module in modules.items():
        with align_module_device(module):
            weight = oriented_weight(module)
            found = factors_of(name, weight, rank, step="none", generator=generator(seed, name))
        factors[name] = found.cpu()
    return factors
