"""Filling B, R and A of adapters whose weight is W0 + s B R A."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Literal, get_args

import torch
from peft.tuners.tuners_utils import check_target_module_exists
from torch import Tensor, nn

from lorasb.errors import UserError
from lorasb.linalg.svd import Factors
from lorasb.models.layers import base_name, unwrapped
from lorasb.start.factors import factorize
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from lorasb.tuner.layer import R_STD

Start = Literal["step", "zero", "folded", "undivided"]


def initialize_lora_sb(
    model: nn.Module,
    gradients_or_factors: Mapping[str, Tensor] | Mapping[str, Factors],
    learning_rate: float,
    adapter_name: str = "default",
    *,
    start: Start = "step",
    overwrite: bool = False,
) -> None:
    """Start an adapter at the best rank-r form of full fine-tuning's first step (LoRA-SB).

    arXiv 2411.19557, section 3: with U S V^T the truncated SVD of sign(g), B = U, A = V^T and
    R = -eta diag(S) / s, so that s B R A approximates -eta sign(g). B and A are orthonormal, with
    which plain training of R is optimal (theorem 5).

    Parameters
    ----------
    model
        A model with a `lora_xs` adapter; `init_weights="empty"` spares it a useless SVD.
    gradients_or_factors
        For each adapted module, under its name in the base model: its gradient (out, in), as
        `estimate_gradients` gives it, or the factors of its step, as `factorize` gives them, of at
        least the adapter's rank. Those of layers that the adapter's configuration excludes are not
        needed.
    learning_rate
        eta, above 0: that of the first optimiser step that moves anything (`first_learning_rate`).
    start
        "step" is the paper's. Two ablations: "zero", the same bases with R = 0, so that training
        starts at W0; "folded", the same product with B = -eta U diag(S) / s and R = I, bases that
        are not orthonormal. "undivided" is the authors' code's, R = -eta diag(S) whatever s is: the
        product is s times the step.
    overwrite
        Start an adapter anew that has been trained or loaded: what it has learnt is lost.

    Raises
    ------
    UserError
        If names or shapes do not fit the adapter, eta is not above 0, `start` is unknown, or the
        adapter has been trained or loaded and `overwrite` is not set.
    """
    if not learning_rate > 0:
        raise UserError(
            f"learning rate {learning_rate:g}: LoRA-SB starts at its first step, which needs a "
            "rate above 0; take the first one above 0 of the schedule"
        )
    layers = _layers(model, gradients_or_factors, adapter_name)
    if not overwrite:
        _refuse_moved(layers, adapter_name)
    matrices = {}
    for name, layer in layers.items():
        factors = _step_factors(name, gradients_or_factors[name], layer.r[adapter_name])
        B, R = _start(factors, -learning_rate, layer.scaling[adapter_name], start)
        matrices[name] = (B, R, factors.V.T)
    _fill(layers, adapter_name, matrices)


def initialize_lora_xs(
    model: nn.Module,
    factors: Mapping[str, Factors],
    adapter_name: str = "default",
    *,
    generator: torch.Generator,
) -> None:
    """Start an adapter at the factors of the base weights (LoRA-XS, arXiv 2405.17604).

    B = U, A = S V^T and R ~ N(0, 1e-5^2), drawn on the CPU in the model's order.

    Raises
    ------
    UserError
        If names, shapes or ranks do not fit the adapter.
    """
    layers = _layers(model, factors, adapter_name)
    matrices = {}
    for name, layer in layers.items():
        rank = layer.r[adapter_name]
        truncated = _truncate(name, factors[name], rank)
        R = torch.empty(rank, rank).normal_(0.0, R_STD, generator=generator)
        matrices[name] = (truncated.U, R, truncated.S[:, None] * truncated.V.T)
    _fill(layers, adapter_name, matrices)


def _start(factors: Factors, size: float, scaling: float, start: Start) -> tuple[Tensor, Tensor]:
    """B and R; but for "zero" and "undivided", scaling * B R is size * U diag(S)."""
    scaled = size / scaling * torch.diag(factors.S)
    if start == "step":
        return factors.U, scaled
    if start == "zero":
        return factors.U, torch.zeros_like(scaled)
    if start == "undivided":
        return factors.U, size * torch.diag(factors.S)
    if start == "folded":
        return factors.U @ scaled, torch.eye(factors.rank).to(scaled)
    raise UserError(f"start '{start}' is unknown; known: {', '.join(get_args(Start))}")


def _layers(
    model: nn.Module, names: Mapping[str, object], adapter_name: str
) -> dict[str, LoraXSLayer]:
    """The adapted layers by their names in the base model; refuses any other set of names."""
    layers = {
        base_name(name): module
        for name, module in model.named_modules()
        if isinstance(module, LoraXSLayer) and adapter_name in module.r
    }
    if not layers:
        raise UserError(f"the model has no lora_xs adapter '{adapter_name}'")
    for name, layer in layers.items():
        if layer.lora_xs_R[adapter_name].is_meta:
            raise UserError(
                f"{name}: its weight is not in memory, and neither is its adapter; load the model "
                "without offloading"
            )
    config = unwrapped(model).peft_config[adapter_name]
    if config.save_bases is False:
        raise UserError(
            f"adapter '{adapter_name}' has save_bases=False, so it would be loaded with bases made "
            "from the base weights; other bases need save_bases=True"
        )
    for what, difference in (
        ("no matrix is given for", layers.keys() - names.keys()),
        ("a matrix is given for", _foreign(config, names.keys() - layers.keys())),
    ):
        if difference:
            first = min(difference)
            state = "is adapted" if first in layers else "is not adapted"
            raise UserError(f"{what} {first}, which {state} ({len(difference)} such modules)")
    config.save_bases = True  # which are no longer those of the weights
    return layers


def _foreign(config: LoraXSConfig, names: set[str]) -> set[str]:
    """Those of the names that no target of the adapter means, excluded or not."""
    targets = SimpleNamespace(target_modules=config.target_modules)
    return {name for name in names if not check_target_module_exists(targets, name)}


def _refuse_moved(layers: Mapping[str, LoraXSLayer], adapter_name: str) -> None:
    for name, layer in layers.items():
        if layer.has_moved(adapter_name):
            raise UserError(
                f"{name}: adapter '{adapter_name}' has been trained or loaded, which starting it "
                "would undo; pass overwrite=True if that is meant"
            )


def _step_factors(name: str, value: Tensor | Factors, rank: int) -> Factors:
    if isinstance(value, Factors):
        return _truncate(name, value, rank)
    if not value.any():
        raise UserError(f"{name}: its gradient is zero, so there is no first step to start at")
    return factorize({name: value}, rank, step="sign")[name]


def _truncate(name: str, factors: Factors, rank: int) -> Factors:
    try:
        return factors.truncate(rank)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def _fill(
    layers: Mapping[str, LoraXSLayer],
    adapter_name: str,
    matrices: Mapping[str, tuple[Tensor, Tensor, Tensor]],
) -> None:
    """Copy B, R and A of each layer, once all of them are seen to fit."""
    for name, layer in layers.items():
        slots = (layer.lora_xs_B, layer.lora_xs_R, layer.lora_xs_A)
        for letter, slot, value in zip("BRA", slots, matrices[name], strict=True):
            wanted = slot[adapter_name]
            if wanted.shape != value.shape:
                raise UserError(
                    f"{name}: {letter} should have shape {tuple(wanted.shape)}, "
                    f"the given matrix leads to {tuple(value.shape)}"
                )
    for name, layer in layers.items():
        layer.fill(adapter_name, *matrices[name])
