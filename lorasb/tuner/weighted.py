"""Several adapters of a layer as one, without any approximation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Literal, get_args

import torch
from torch import Tensor

from lorasb.errors import UserError
from lorasb.tuner.config import LoraXSConfig
from lorasb.tuner.layer import LoraXSLayer

Combination = Literal["linear", "cat"]


def combined(
    layer: LoraXSLayer, weights: Mapping[str, float], combination: Combination
) -> tuple[Tensor, Tensor, Tensor]:
    """B, R and A of sum_i w_i s_i B_i R_i A_i over the adapters that the layer has, float32.

    "linear" keeps the B and A that all adapters share and adds up the R. "cat" sets the B side by
    side, the A below one another and the R along the diagonal, whatever the bases are; the rank is
    the sum of the ranks.

    Raises
    ------
    UserError
        If the adapters' bases differ, with "linear".
    """
    names = [name for name in weights if name in layer.r]
    Bs, Rs, As = zip(*(map(Tensor.float, layer.matrices(name)) for name in names), strict=True)
    scaled = [
        weights[name] * layer.scaling[name] * R.detach() for name, R in zip(names, Rs, strict=True)
    ]
    if combination == "cat":
        diagonal: Tensor = torch.block_diag(*scaled)  # type: ignore[no-untyped-call]
        return torch.cat(Bs, dim=1), diagonal, torch.cat(As)
    for name, B, A in zip(names, Bs, As, strict=True):
        if not (torch.equal(B, Bs[0]) and torch.equal(A, As[0])):
            raise UserError(
                f"{layer.name}: adapters '{names[0]}' and '{name}' have other bases, so their R do "
                'not add up; use combination_type="cat", whose rank is the sum of theirs'
            )
    return Bs[0], torch.stack(scaled).sum(0), As[0]


def check_combination(combination: str, others: Iterable[str]) -> None:
    """Refuse (UserError) ways to combine that are not exact, and the settings of such ways."""
    known = ", ".join(get_args(Combination))
    if combination not in get_args(Combination):
        raise UserError(
            f"combination_type '{combination}' is unknown for lora_xs; known: {known}; PEFT's "
            "others are for what lorasb.export_lora writes"
        )
    for name in others:
        raise UserError(f"add_weighted_adapter: '{name}' means nothing with {known}; leave it out")


def check_terms(
    configs: Mapping[str, LoraXSConfig], adapters: Sequence[str], weights: Sized, new: str
) -> None:
    """Refuse adapters that are not there, or do not add up, and a name that is taken.

    Raises
    ------
    UserError
        Names what is wrong.
    """
    if not adapters or len(adapters) != len(weights):
        raise UserError(
            f"add_weighted_adapter: {len(weights)} weights for {len(adapters)} adapters; "
            "give at least one adapter, and a weight for each"
        )
    if new in configs:
        raise UserError(f"adapter '{new}' is there already; delete it first, or name another")
    for name in adapters:
        if name not in configs:
            raise UserError(f"no adapter '{name}' to combine; there are {', '.join(configs)}")
        config = configs[name]
        if config.modules_to_save or config.trainable_token_indices or config.bias != "none":
            raise UserError(
                f"adapter '{name}' has trained biases, tokens or modules_to_save, which cannot be "
                "combined"
            )
