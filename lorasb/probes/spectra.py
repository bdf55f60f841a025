"""How low in rank a gradient is, and whether other samples lead to the same subspace.

For each estimated gradient g of a task, adapted weight and rank k:

- `gradient_share`, `sign_share`: share of the squared Frobenius norm that the best rank-k
  approximation of g, and of sign(g), keeps (Eckart-Young);
- `left_overlap`, `right_overlap`: mean squared cosine of the principal angles between the top-k
  singular subspaces of sign(g) and those of the largest estimates of the other seeds, which have
  other samples; the mean over these. NaN with one seed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from lorasb.linalg.measures import singular_values

Estimate = tuple[int, int]  # number of samples, seed

COLUMNS = [
    *("model", "task", "samples", "seed", "module", "rank"),
    *("gradient_share", "sign_share", "left_overlap", "right_overlap"),
]


def spectra(
    estimates: Mapping[Estimate, Tensor], ranks: Collection[int] = ()
) -> list[dict[str, float]]:
    """The measures of one weight's gradients (out, in), at 1, 2, 4, ..., full rank and `ranks`."""
    steps = {key: torch.linalg.svd(g.sign(), full_matrices=False) for key, g in estimates.items()}
    largest: dict[int, Estimate] = {}
    for samples, seed in estimates:
        largest[seed] = max(largest.get(seed, (0, seed)), (samples, seed))
    rows = []
    for (samples, seed), gradient in estimates.items():
        U, S, Vh = steps[samples, seed]
        others = [steps[key] for other, key in largest.items() if other != seed]
        shares = _shares(singular_values(gradient)), _shares(S)
        overlaps = (
            _overlaps(U, (left for left, _, _ in others)),
            _overlaps(Vh.T, (right.T for _, _, right in others)),
        )
        rows += [
            {
                "samples": samples,
                "seed": seed,
                "rank": rank,
                "gradient_share": shares[0][rank - 1].item(),
                "sign_share": shares[1][rank - 1].item(),
                "left_overlap": overlaps[0][rank - 1].item(),
                "right_overlap": overlaps[1][rank - 1].item(),
            }
            for rank in _ranks(len(S), ranks)
        ]
    return rows


def _ranks(largest: int, chosen: Collection[int]) -> list[int]:
    powers = [1 << exponent for exponent in range(largest.bit_length())]
    return [rank for rank in sorted({*powers, *chosen, largest}) if rank <= largest]


def _shares(values: Tensor) -> Tensor:
    """Share of the energy in the first k singular values, for each k."""
    energy = values.double().square()
    return energy.cumsum(0) / energy.sum()


def _overlaps(own: Tensor, others: Iterable[Tensor]) -> Tensor:
    """Mean squared cosine between the first k columns of bases, for each k; mean over others."""
    found = []
    for other in others:
        squared = (own.double().T @ other.double()).square()
        # the sum over the leading k x k block
        inside = squared.cumsum(0).cumsum(1).diagonal()
        found.append(inside / torch.arange(1, len(inside) + 1))
    return torch.stack(found).mean(0) if found else torch.full((own.shape[1],), torch.nan)
