"""Spectra of gradients against float64 twins that form projectors and approximations."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from lorasb.probes.spectra import spectra

TOLERANCE = 1e-5  # float32 singular vectors


def matrix(seed: int) -> torch.Tensor:
    return torch.randn(12, 9, generator=torch.Generator().manual_seed(seed))


def rows(estimates: dict[tuple[int, int], torch.Tensor], **options) -> pd.DataFrame:
    table = pd.DataFrame(spectra(estimates, **options))
    return table.set_index(["samples", "seed", "rank"])


def top(gradient: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Projectors on the leading singular subspaces of the sign."""
    U, _, Vh = torch.linalg.svd(gradient.sign().double(), full_matrices=False)
    return U[:, :rank] @ U[:, :rank].T, Vh[:rank].T @ Vh[:rank]


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_shares_are_those_of_the_best_approximation(rank):
    gradient = matrix(0)
    found = rows({(5, 0): gradient}).loc[5, 0, rank]
    for column, target in (("gradient_share", gradient), ("sign_share", gradient.sign())):
        U, S, Vh = torch.linalg.svd(target.double(), full_matrices=False)
        best = (U[:, :rank] * S[:rank]) @ Vh[:rank]
        error = (target - best).norm() ** 2 / target.double().norm() ** 2
        assert found[column] == pytest.approx(1 - error.item(), abs=TOLERANCE)


def test_overlap_is_with_the_largest_estimates_of_the_other_seeds():
    estimates = {(1, 0): matrix(1), (50, 0): matrix(2), (50, 1): matrix(4), (1, 1): matrix(3)}
    estimates[50, 2] = matrix(5)
    found = rows(estimates)
    for rank in (1, 2, 4):
        own = top(estimates[1, 0], rank)
        others = [top(estimates[50, seed], rank) for seed in (1, 2)]
        for side, column in enumerate(("left_overlap", "right_overlap")):
            # trace(P Q) / k is the mean squared cosine
            expected = [(own[side] @ other[side]).trace().item() / rank for other in others]
            value = found.loc[(1, 0, rank), column]
            assert value == pytest.approx(sum(expected) / 2, abs=TOLERANCE)


def test_one_seed_has_nothing_to_compare_with():
    found = rows({(1, 0): matrix(1), (5, 0): matrix(2)})
    assert found["left_overlap"].isna().all()
    assert found["sign_share"].notna().all()


def test_ranks_are_powers_of_two_the_full_one_and_those_of_the_methods():
    found = rows({(1, 0): matrix(1)}, ranks={3, 96})
    assert list(found.loc[1, 0].index) == [1, 2, 3, 4, 8, 9]
