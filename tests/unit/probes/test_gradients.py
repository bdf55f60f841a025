"""Gradient measures against float64 twins written out."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch

from lorasb.models.layers import oriented_weight
from lorasb.probes.gradients import COLUMNS, GradientRows, Probe
from lorasb.probes.replay import Moment, replay
from lorasb.study.cells import Cell
from tests.unit import kept

TOP = 6


def probe() -> Probe:
    return Probe(kept.resolved(), kept.rows(), seed=0, top=TOP)


def moments(variant: str) -> list[Moment]:
    """All at once: the one model that they share has the parameters of the last."""
    return list(replay(kept.study(), kept.keep(variant), kept.ROWS))


def last(variant: str) -> Moment:
    return moments(variant)[-1]


def measured(variant: str, probe: Probe) -> list[dict[str, Any]]:
    cell = kept.keep(variant)
    return gradient_rows(cell, replay(kept.study(), cell, kept.ROWS), probe)


def gradient_rows(cell: Cell, moments: Iterable[Moment], probe: Probe) -> list[dict[str, Any]]:
    rows = GradientRows(cell, probe)
    for moment in moments:
        rows.add(moment)
    return rows.finished()


def twin_gradients(probe: Probe, moment: Moment) -> tuple[float, dict[str, torch.Tensor]]:
    """Mean loss over the rows and its gradients, float64, one row after the other."""
    probe.loss(moment.updates, moment.carried)
    network = copy.deepcopy(probe.network).double()
    network.requires_grad_(True)
    total = torch.zeros((), dtype=torch.float64)
    for batch in probe.batches:
        for index in range(len(batch["labels"])):
            length = int(batch["attention_mask"][index].sum())
            logits = network(input_ids=batch["input_ids"][index : index + 1, :length]).logits
            total = total - logits.log_softmax(-1)[0, batch["labels"][index]]
    (total / probe.rows).backward()
    found = {name: network.get_submodule(name).weight.grad for name in moment.base}
    return total.item() / probe.rows, found


@pytest.mark.parametrize("variant", ["full", "lora-sb"])
def test_loss_and_gradients_are_those_of_the_merged_weights(project, variant):
    found = probe()
    moment = last(variant)
    loss, expected = twin_gradients(found, moment)
    assert found.loss(moment.updates, moment.carried) == pytest.approx(loss, rel=1e-5)
    for name, gradient in found.gradients(moment).items():
        # float32 through four layers
        torch.testing.assert_close(
            gradient.double(), expected[name], rtol=0, atol=1e-4 * expected[name].abs().max().item()
        )


def test_rows_are_drawn_from_the_seed(project):
    ids = [
        Probe(kept.resolved(), kept.rows(), seed, TOP).batches[0]["input_ids"] for seed in (0, 0, 1)
    ]
    assert torch.equal(ids[0], ids[1])
    assert ids[0].shape != ids[2].shape or not torch.equal(ids[0], ids[2])


def test_fewer_rows_than_are_asked_for_are_all_taken(project):
    few = Probe(kept.resolved(), kept.rows()[:3], 0, TOP)
    assert few.rows == sum(len(batch["input_ids"]) for batch in few.batches) == 3


def test_trained_gradient_is_that_of_the_small_matrix(project):
    """G_R = s B^T g A^T (Lemma 2)."""
    found, moment = probe(), last("lora-sb")
    full = found.gradients(moment)
    own = found.trained_gradients(moment)
    layers = moment.method.fixed_bases(moment.model)
    for gradient, (name, (B, right)) in zip(own, layers.items(), strict=True):
        expected = B.T @ full[name] @ right
        # float32, and the adapter's own path through the model
        torch.testing.assert_close(
            gradient, expected, rtol=0, atol=1e-3 * expected.abs().max().item()
        )


@pytest.mark.parametrize("variant", ["lora-xs", "lora-sb"])
def test_equivalent_gradient_between_frozen_bases(project, variant):
    """s^2 B B^T g A^T A; with orthonormal bases it is the projection on them (Theorem 5)."""
    found, moment = probe(), last(variant)
    full = found.gradients(moment)
    equivalent = moment.change_along(found.trained_gradients(moment))
    for name, (B, right) in moment.method.fixed_bases(moment.model).items():
        expected = B @ B.T @ full[name] @ right @ right.T
        torch.testing.assert_close(
            equivalent[name], expected, rtol=0, atol=2e-3 * expected.abs().max().item()
        )


def test_equivalent_gradient_of_two_trained_factors(project):
    """s^2 (B B^T g + g A^T A), here with s = 1."""
    found, moment = probe(), last("lora")
    full = found.gradients(moment)
    equivalent = moment.change_along(found.trained_gradients(moment))
    layers = moment.model.get_base_model()
    for name, gradient in full.items():
        layer = layers.get_submodule(name)
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        expected = B @ B.T @ gradient + gradient @ A.T @ A
        torch.testing.assert_close(
            equivalent[name], expected, rtol=0, atol=2e-3 * expected.abs().max().item()
        )


def test_a_row_a_step_and_weight_with_ordered_cosines(project):
    found = measured("lora-sb", probe())
    assert all(set(row) <= set(COLUMNS) for row in found)
    assert [row["step"] for row in found] == [step for step in (0, 1, 5) for _ in range(28)]
    for row in found:
        assert row["subspace_cosine"] <= row["optimum_cosine"] + 1e-6
        # orthonormal bases: plain steps are the best ones in the subspace
        assert row["equivalent_cosine"] == pytest.approx(row["subspace_cosine"], abs=1e-3)
        assert row["random_low"] <= row["random_cosine"] <= row["random_high"] < 1
        assert 1 <= row["gradient_effective_rank"] <= 128
        assert row["subspace_share"] == pytest.approx(1 - row["subspace_error"] ** 2, abs=1e-9)


def test_every_column_of_a_weight_written_out(project):
    """Twin in float64, s = 1: G = B B^T g A^T A, and B sign(B^T g A^T) A for AdamW."""
    found, moment = probe(), last("lora-sb")
    _, gradients = twin_gradients(found, moment)
    bases = moment.method.fixed_bases(moment.model)
    rank = bases["model.layers.0.self_attn.q_proj"][0].shape[1]
    for row in measured("lora-sb", probe())[-28:]:
        g = gradients[row["module"]]
        B, A = bases[row["module"]][0].double(), bases[row["module"]][1].double().T
        signs = g.sign()
        expected = {
            "gradient_norm": g.norm().item(),
            "equivalent_cosine": alike(B @ B.T @ g @ A.T @ A, g),
            "optimum_cosine": alike(truncated(g, rank), g),
            "subspace_cosine": alike(B @ B.T @ g @ A.T @ A, g),
        }
        for name, value in expected.items():
            # float32 through the model
            assert row[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
        expected = {
            "adam_cosine": alike(B @ (B.T @ g @ A.T).sign() @ A, signs),
            "adam_optimum": alike(truncated(signs, rank), signs),
            "adam_subspace": alike(B @ B.T @ signs @ A.T @ A, signs),
        }
        for name, value in expected.items():
            # a few gradients that are almost zero change sign between float32 and float64
            assert row[name] == pytest.approx(value, abs=1e-2), name


def alike(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a * b).sum() / (a.norm() * b.norm())).item()


def truncated(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank] * S[:rank] @ Vh[:rank]


def test_full_fine_tuning_can_do_what_it_wants(project):
    for row in measured("full", probe()):
        assert row["equivalent_cosine"] == pytest.approx(1, abs=1e-6)
        # a float32 difference of 1e-2 of the weights
        assert row["equivalent_error"] < 1e-3
        assert row["adam_cosine"] == pytest.approx(1, abs=1e-3)
        assert "optimum_cosine" not in row
        assert "subspace_cosine" not in row


def test_first_subspace_is_the_start_of_every_angle(project):
    found = measured("full", probe())
    for row in found:
        if row["step"] == 0:
            assert row["left_overlap"] == pytest.approx(1)
            # orthonormal to float32's 1e-7, in degrees
            assert row["right_angle"] < 1e-3
    later = [row for row in found if row["step"] == 5]
    assert all(row["left_angle"] > 1 for row in later)


def test_move_to_the_next_step_is_predicted_and_measured_with_the_head_held(project):
    found = probe()
    first, second, _ = moments("lora")
    _, gradients = twin_gradients(found, first)
    before = found.loss(first.updates, first.carried)
    after = found.loss(second.updates, first.carried)
    assert after != found.loss(second.updates, second.carried)
    for row in measured("lora", probe())[:28]:
        name = row["module"]
        moved = (second.updates[name] - first.updates[name]).double()
        slope = -(gradients[name] * moved).sum().item()
        assert row["predicted_decrease"] == pytest.approx(slope, rel=1e-3, abs=1e-6)
        assert row["measured_decrease"] == pytest.approx(before - after, abs=1e-6)
        cosine = -(gradients[name].sign() * moved).sum() / (
            gradients[name].sign().norm() * moved.norm()
        )
        # a few gradients that are almost zero change sign between float32 and float64
        assert row["next_step_cosine"] == pytest.approx(cosine.item(), abs=1e-2)


def test_last_step_has_no_next(project):
    last_rows = measured("lora", probe())[-28:]
    assert not any("measured_decrease" in row for row in last_rows)


def test_step_that_moved_nothing_repeats_its_measures(project, monkeypatch):
    cell = kept.keep("lora")
    first = next(replay(kept.study(), cell, kept.ROWS))
    found = probe()
    calls = []
    taken = Probe.gradients

    def counted(self: Probe, moment: Moment) -> dict[str, torch.Tensor]:
        calls.append(moment.step)
        return taken(self, moment)

    monkeypatch.setattr(Probe, "gradients", counted)
    still = Moment(**vars(first) | {"step": 1})
    rows = gradient_rows(cell, [first, still], found)
    assert calls == [0]
    assert [row["step"] for row in rows] == [0] * 28 + [1] * 28
    assert rows[0]["measured_decrease"] == pytest.approx(0, abs=1e-6)
    assert math.isnan(rows[0]["next_step_cosine"])
    assert rows[0]["gradient_norm"] == rows[28]["gradient_norm"]


def test_probing_leaves_the_probed_weights_as_they_were(project):
    found, moment = probe(), last("lora-sb")
    before = [value.clone() for value in moment.model.parameters()]
    found.gradients(moment)
    found.trained_gradients(moment)
    assert all(torch.equal(a, b) for a, b in zip(before, moment.model.parameters(), strict=True))
    base = {name: oriented_weight(found.network.get_submodule(name)) for name in moment.base}
    for name, weight in base.items():
        torch.testing.assert_close(weight, moment.base[name] + moment.updates[name])


def test_without_other_trained_weights_a_loss_is_computed_once(project, monkeypatch):
    cell, compute = kept.keep("lora-sb"), Probe.loss
    expected = [probe().loss(moment.updates, {}) for moment in moments("lora-sb")]
    losses = []

    def counted(*arguments: Any) -> float:
        losses.append(compute(*arguments))
        return losses[-1]

    monkeypatch.setattr(Probe, "loss", counted)
    found = replay(kept.study(), cell, kept.ROWS)
    rows = gradient_rows(cell, (replace(moment, carried={}) for moment in found), probe())
    assert losses == expected
    assert list({row["step"]: row["loss"] for row in rows}.values()) == expected
