"""Gradients along training: what full fine-tuning would do next, and what the method can do of it.

At each kept step the full gradient g of every adapted weight is taken on a fixed probe batch, at
the method's weights of that step, beside what a step on the method's own parameters would do.
All of it happens after training, from kept parameters: it cannot change a run.
docs/directions.md explains every column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lorasb.linalg.measures import (
    RandomBases,
    best_rank_cosine,
    cosine,
    effective_rank,
    leading_subspaces,
    orthonormal,
    principal_angles,
    projection,
    projection_error,
    relative_error,
    singular_values,
)
from lorasb.models.layers import oriented_weight
from lorasb.probes.replay import Moment, base_weights
from lorasb.seeding import generator
from lorasb.start.gradients import Batch, batch_loss, estimate_gradients
from lorasb.study.cells import Cell
from lorasb.study.study import Resolved
from lorasb.tasks.collate import Collator
from lorasb.training.setup import load_base

COLUMNS = [
    *("model", "task", "variant", "rank", "seed", "step", "module"),
    *("loss", "gradient_norm", "gradient_effective_rank"),
    *("equivalent_cosine", "equivalent_error", "optimum_cosine", "optimum_error"),
    *("subspace_cosine", "subspace_error", "subspace_share"),
    *("random_cosine", "random_low", "random_high", "random_error"),
    *("left_overlap", "left_angle", "right_overlap", "right_angle"),
    *("adam_cosine", "adam_optimum", "adam_subspace", "next_step_cosine"),
    *("predicted_decrease", "measured_decrease"),
]

Values = dict[str, float]
Subspaces = dict[str, tuple[Tensor, Tensor]]  # weight -> top singular vectors of its gradient


@dataclass(frozen=True)
class _Place:
    """What was measured at one moment: mean loss, mean gradients, values of each weight."""

    moment: Moment
    loss: float
    gradients: dict[str, Tensor]
    values: dict[str, Values]


class Probe:
    """The probe batch of a seed, and a base model that is set to what a cell was at a step.

    `rows` are the training rows, of which the batch is drawn; `top` is the rank of the subspaces
    that are looked at where a method has none.
    """

    def __init__(self, resolved: Resolved, rows: list[dict[str, Any]], seed: int, top: int) -> None:
        network, tokenizer = load_base(resolved, seed)
        self.network = network.float()
        self.settings = resolved.settings
        self.logits = self.settings["training"]["logits"]
        self.targets = resolved.model.target_modules
        self.task_head = resolved.task_head
        self.base = base_weights(self.network, resolved)
        self.start = {
            name: value.detach().clone() for name, value in self.network.named_parameters()
        }
        self.top = top
        draws = self.settings["probe"]["random_draws"]
        self.random = RandomBases(draws, generator(seed, "probe-bases"))
        order = torch.randperm(len(rows), generator=generator(seed, "probe"))
        chosen = [rows[index] for index in order[: self.settings["probe"]["rows"]].tolist()]
        self.rows = len(chosen)
        size = self.settings["gradient"]["batch_size"]
        collate = Collator(tokenizer)
        self.batches: list[Batch] = [
            collate(chosen[first : first + size]) for first in range(0, len(chosen), size)
        ]

    def gradients(self, moment: Moment) -> dict[str, Tensor]:
        """Gradient of the mean loss at each adapted weight, (out, in)."""
        self._place(moment.updates, moment.carried)
        found = estimate_gradients(
            self.network,
            self.batches,
            target_modules=self.targets,
            exclude=self.task_head,
            num_samples=self.rows,
            memory_limit_bytes=self.settings["gradient"]["memory_limit_bytes"],
            logits=self.logits,
        )
        return {name: value / self.rows for name, value in found.items()}

    @torch.no_grad()
    def loss(self, updates: Mapping[str, Tensor], carried: Mapping[str, Tensor]) -> float:
        """Mean loss with these changes of the adapted weights and these other weights."""
        self._place(updates, carried)
        losses = [
            batch_loss(self.network, batch, logits=self.logits).double() for batch in self.batches
        ]
        return torch.stack(losses).sum().item() / self.rows

    def trained_gradients(self, moment: Moment) -> list[Tensor]:
        """Gradient of the mean loss at the parameters that the method trains."""
        sums = [torch.zeros_like(parameter) for parameter in moment.parameters]
        if not sums:  # which autograd refuses
            return sums
        with torch.enable_grad():
            for batch in self.batches:
                loss = batch_loss(moment.model, batch, logits=self.logits) / self.rows
                found = torch.autograd.grad(loss, moment.parameters, materialize_grads=True)
                sums = [total + part for total, part in zip(sums, found, strict=True)]
        return sums

    @torch.no_grad()
    def _place(self, updates: Mapping[str, Tensor], carried: Mapping[str, Tensor]) -> None:
        for name, value in self.network.named_parameters():
            value.copy_(carried.get(name, self.start[name]))
        for name, update in updates.items():
            weight = oriented_weight(self.network.get_submodule(name))
            weight.copy_(self.base[name] + update.to(weight.device))


class GradientRows:
    """One row a kept step and adapted weight of a cell, from its moments in order."""

    def __init__(self, cell: Cell, probe: Probe) -> None:
        self.cell, self.probe = cell, probe
        self._rows: list[dict[str, Any]] = []
        self._first: Subspaces = {}
        self._bases: Subspaces | None = None
        self._place: _Place | None = None

    def add(self, moment: Moment) -> None:
        """Measure a moment, and the way to it from the one before."""
        place = self._place
        if place is None:
            self._place = self._measured(moment, self.probe.loss(moment.updates, moment.carried))
            return
        # the other trained weights held where they are
        reached = self.probe.loss(moment.updates, place.moment.carried)
        self._write(place, _move_values(place, moment, reached))
        if _same(place.moment, moment):
            # the first step of a warm-up moves nothing
            self._place = replace(place, moment=moment)
            return
        if moment.carried:
            reached = self.probe.loss(moment.updates, moment.carried)
        self._place = self._measured(moment, reached)

    def finished(self) -> list[dict[str, Any]]:
        """All rows, once there is no moment left."""
        if self._place is not None:
            self._write(self._place, {})
            self._place = None
        return self._rows

    def _measured(self, moment: Moment, loss: float) -> _Place:
        """All that concerns one step, at which the mean loss is `loss`."""
        rank = self.cell.rank
        gradients = self.probe.gradients(moment)
        own = self.probe.trained_gradients(moment)
        equivalent = moment.change_along(own)
        adam = moment.change_along([gradient.sign() for gradient in own])
        if self._bases is None:  # the same at all moments
            self._bases = {name: orthonormal(pair) for name, pair in _bases(moment).items()}
        values: dict[str, Values] = {}
        for name, gradient in gradients.items():
            singular, subspace = leading_subspaces(gradient, rank or self.probe.top)
            start = self._first.setdefault(name, subspace)
            values[name] = {
                "gradient_norm": gradient.norm().item(),
                "gradient_effective_rank": effective_rank(singular),
                "equivalent_cosine": cosine(equivalent[name], gradient),
                "equivalent_error": relative_error(equivalent[name], gradient),
                "adam_cosine": cosine(adam[name], gradient.sign()),
                **_angle_values(start, subspace),
            }
            if rank:
                values[name] |= _rank_values(gradient, singular, rank, self.probe.random)
            if name in self._bases:
                values[name] |= _subspace_values(gradient, self._bases[name])
        return _Place(moment, loss, gradients, values)

    def _write(self, place: _Place, moves: dict[str, Values]) -> None:
        columns: dict[str, Any] = {name: getattr(self.cell, name) for name in COLUMNS[:5]}
        columns |= {"step": place.moment.step, "loss": place.loss}
        self._rows += [
            columns | {"module": name} | values | moves.get(name, {})
            for name, values in place.values.items()
        ]


def _bases(moment: Moment) -> dict[str, tuple[Tensor, Tensor]]:
    fixed = moment.method.fixed_bases(moment.model)
    return {name: (left.cpu(), right.cpu()) for name, (left, right) in fixed.items()}


def _rank_values(gradient: Tensor, singular: Tensor, rank: int, random: RandomBases) -> Values:
    """The most and the least that a rank has to offer."""
    optimum = best_rank_cosine(singular, rank)
    cosines = random.control(gradient, rank)
    return {
        "optimum_cosine": optimum,
        "optimum_error": projection_error(optimum),
        "random_cosine": cosines.mean,
        "random_low": cosines.low,
        "random_high": cosines.high,
        "random_error": projection_error(cosines.mean),
        "adam_optimum": best_rank_cosine(singular_values(gradient.sign()), rank),
    }


def _subspace_values(gradient: Tensor, bases: tuple[Tensor, Tensor]) -> Values:
    """What the method's fixed bases can express."""
    kept = cosine(projection(gradient, bases), gradient)
    step = gradient.sign()
    return {
        "subspace_cosine": kept,
        "subspace_error": projection_error(kept),
        "subspace_share": kept**2,
        "adam_subspace": cosine(projection(step, bases), step),
    }


def _angle_values(start: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> Values:
    left, right = (principal_angles(*pair) for pair in zip(start, now, strict=True))
    return {
        "left_overlap": left.overlap,
        "left_angle": left.largest,
        "right_overlap": right.overlap,
        "right_angle": right.largest,
    }


def _move_values(place: _Place, later: Moment, reached: float) -> dict[str, Values]:
    """The way to the next kept step, at whose end the mean loss is `reached`."""
    values = {}
    for name, gradient in place.gradients.items():
        moved = later.updates[name] - place.moment.updates[name]
        values[name] = {
            "next_step_cosine": cosine(moved, -gradient.sign()),
            "predicted_decrease": -(gradient.double() * moved.double()).sum().item(),
            "measured_decrease": place.loss - reached,
        }
    return values


def _same(one: Moment, other: Moment) -> bool:
    pairs = [
        *((value, other.updates[name]) for name, value in one.updates.items()),
        *((value, other.carried[name]) for name, value in one.carried.items()),
    ]
    return all(torch.equal(a, b) for a, b in pairs)
