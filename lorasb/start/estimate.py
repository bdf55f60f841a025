"""From samples straight to factors, for models whose gradients together are too large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.linalg.svd import Factors
from lorasb.models.layers import target_shapes, unwrapped
from lorasb.start.factors import Step, Svd, check_kinds, each_factors
from lorasb.start.gradients import each_gradient
from lorasb.start.offloaded import computing_device
from lorasb.tuner.layer import check_rank

if TYPE_CHECKING:
    from peft import PeftConfig

# of gradients at a time: with it a model needs 1 GiB beside its weights and activations
MEMORY_LIMIT = 2**30


def estimate_factors(
    model: PreTrainedModel,
    dataloader: Iterable[Mapping[str, Tensor]],
    *,
    rank: int,
    step: Step = "sign",
    svd: Svd = "converged",
    generator: torch.Generator | None = None,
    target_modules: Sequence[str] | str | PeftConfig,
    exclude: Sequence[str] = (),
    memory_limit_bytes: int | None = MEMORY_LIMIT,
    **options: Any,
) -> dict[str, Factors]:
    """Factors of full fine-tuning's first step, for `initialize_lora_sb`.

    The same as `factorize` of `estimate_gradients`, but no more gradients than fit into
    `memory_limit_bytes` exist at a time: a pass over the samples sums up those of some weights,
    each is decomposed on its weight's device and freed, and the next pass takes the next weights.
    An accelerator decomposes those of one shape together (`each_factors`).
    `rank` is the largest that is wanted; `step`, `svd` and `generator` are those of `factorize`,
    `options` those of `estimate_gradients`. Factors are float32 on the CPU, by the modules' names.

    Raises
    ------
    UserError
        As those two do, and if a gradient is zero.
    """
    check_kinds(step, svd)
    shapes = target_shapes(unwrapped(model), target_modules, exclude)
    for name, shape in shapes.items():
        check_rank(name, rank, shape)
    gradients = each_gradient(
        model,
        dataloader,
        target_modules=target_modules,
        exclude=exclude,
        memory_limit_bytes=memory_limit_bytes,
        **options,
    )
    on_device = _on_device(unwrapped(model), gradients)
    found = each_factors(on_device, rank, step=step, svd=svd, generator=generator)
    factors = {name: factor.cpu() for name, factor in found}
    return {name: factors[name] for name in shapes}


def _on_device(model: Any, gradients: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, gradient in gradients:
        if not gradient.any():
            raise UserError(f"{name}: its gradient is zero, so there is no first step to start at")
        yield name, gradient.to(computing_device(model.get_submodule(name)))
