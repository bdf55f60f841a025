"""How well a method's update keeps the direction of full fine-tuning's.

Both are trained on the same batches with the same seed. For each adapted weight W and each kept
step, with D the change of W so far under the method and F under full fine-tuning:

- `cosine` = <D, F> / (|D| |F|), Frobenius;
- `random`: the same for the projection of F on a random r x r subspace, B B^T F A^T A with
  orthonormal B and A, which is |B^T F A^T| / |F| (its expectation is about r / sqrt(m n));
  `random_low` and `random_high` are the 95 % range over draws;
- `best_rank`: the same for F's best rank-r approximation (Eckart-Young), the most that any update
  of rank r can reach;
- `update_effective_rank`, `full_effective_rank`: of D and F
  (`lorasb.linalg.measures.effective_rank`).

Gradients at the same steps: `lorasb.probes.gradients`.
"""

from __future__ import annotations

from typing import Any

import torch

from lorasb.linalg.measures import (
    Control,
    RandomBases,
    best_rank_cosine,
    cosine,
    effective_rank,
    singular_values,
)
from lorasb.study.cells import Cell

Updates = dict[int, dict[str, torch.Tensor]]  # step -> adapted weight -> its change so far

KEYS = ("model", "task", "variant", "rank", "seed")
COLUMNS = [
    *(*KEYS, "step", "module"),
    *("cosine", "random", "random_low", "random_high", "best_rank", "update_norm", "full_norm"),
    *("update_effective_rank", "full_effective_rank"),
]


class Reference:
    """Full fine-tuning's updates of one seed, and what an update of some rank can reach of them."""

    def __init__(self, updates: Updates, random: RandomBases) -> None:
        self.updates, self.random = updates, random
        self.singular_values = {
            (step, name): singular_values(matrix)
            for step, matrices in updates.items()
            for name, matrix in matrices.items()
        }
        self._controls: dict[tuple[int, int, str], Control] = {}

    def control(self, rank: int, step: int, name: str) -> Control:
        """What random orthonormal bases of a rank reach of one update."""
        key = (rank, step, name)
        if key not in self._controls:
            self._controls[key] = self.random.control(self.updates[step][name], rank)
        return self._controls[key]


def compare(cell: Cell, own: Updates, reference: Reference) -> list[dict[str, Any]]:
    """One row a step and adapted weight."""
    columns: dict[str, Any] = {name: getattr(cell, name) for name in KEYS}
    rows = []
    for step, matrices in reference.updates.items():
        for name, target in matrices.items():
            update, values = own[step][name], reference.singular_values[step, name]
            control = reference.control(cell.rank, step, name)
            rows.append(
                columns
                | {
                    "step": step,
                    "module": name,
                    "cosine": cosine(update, target),
                    "random": control.mean,
                    "random_low": control.low,
                    "random_high": control.high,
                    "best_rank": best_rank_cosine(values, cell.rank),
                    "update_norm": update.norm().item(),
                    "full_norm": target.norm().item(),
                    "update_effective_rank": effective_rank(singular_values(update)),
                    "full_effective_rank": effective_rank(values),
                }
            )
    return rows
