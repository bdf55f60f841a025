"""A cell's models from what it kept, and how its weights move with its parameters."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasb.errors import UserError
from lorasb.linalg.measures import orthonormal, projection
from lorasb.models.layers import norm_layers
from lorasb.probes.gradients import GradientRows, Probe
from lorasb.probes.replay import Moment, replay
from tests.unit import kept

WEIGHT = "model.layers.1.mlp.down_proj"  # 128 x 256: neither square nor symmetric


def last(variant: str) -> Moment:
    *_, moment = replay(kept.study(), kept.keep(variant), kept.ROWS)
    return moment


def adapter(moment: Moment, *names: str) -> list[torch.Tensor]:
    layer = moment.model.get_base_model().get_submodule(WEIGHT)
    found = [getattr(layer, name)["default"] for name in names]
    return [value.weight if isinstance(value, torch.nn.Linear) else value for value in found]


def random_like(values: list[torch.Tensor]) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(11)
    return [torch.randn(value.shape, generator=random) for value in values]


@pytest.mark.parametrize("variant", kept.VARIANTS)
def test_probed_model_is_the_one_that_was_trained(project, variant):
    """Task head and, for full fine-tuning, embeddings included: the same outputs."""
    probe = Probe(kept.resolved(), kept.rows(), seed=0, top=4)
    untrained = probe.network(**probe.batches[0]).logits
    for moment in replay(kept.study(), kept.keep(variant), kept.ROWS):
        probe.loss(moment.updates, moment.carried)
        expected = moment.model(**probe.batches[0]).logits
        # float32 products in another order; logits are of size 1
        torch.testing.assert_close(
            probe.network(**probe.batches[0]).logits, expected, rtol=1e-4, atol=1e-4
        )
    assert moment.step == 5
    assert (expected - untrained).abs().max() > 0.1


def test_what_is_carried_is_what_does_not_change_adapted_weights(project):
    assert set(last("lora").carried) == {"score.weight"}
    full = last("full")
    assert {"score.weight", "model.embed_tokens.weight"} < set(full.carried)
    assert len(full.parameters) == len(full.base)


def test_trained_norms_are_carried_and_no_adapted_weight_changes(project):
    for name, old, new in (
        ("quickstart.yaml", "  full: {}\n", "  full: {}\n  ln-tuning: {}\n"),
        ("quickstart.selected_lr.tsv", "\tfull\t", "\tln-tuning\t"),
    ):
        path = project / "config/studies" / name
        text = path.read_text(encoding="utf-8")
        lines = [line.replace(old, new) for line in text.splitlines(keepends=True) if old in line]
        path.write_text(text + "".join(lines) if "tsv" in name else text.replace(old, new))
    probe = Probe(kept.resolved(), kept.rows(), seed=0, top=4)
    cell = kept.keep("ln-tuning")
    rows = GradientRows(cell, probe)
    for moment in replay(kept.study(), cell, kept.ROWS):
        rows.add(moment)
        probe.loss(moment.updates, moment.carried)
        found = probe.network(**probe.batches[0]).logits
        # float32 of logits of size 1
        torch.testing.assert_close(
            found, moment.model(**probe.batches[0]).logits, rtol=1e-4, atol=1e-4
        )
    norms = {f"{name}.weight" for name in norm_layers(probe.network, ["score"])}
    assert set(moment.carried) == norms | {"score.weight"}
    assert not any(update.any() for update in moment.updates.values())
    for row in rows.finished():
        assert row["gradient_norm"] > 0
        assert math.isnan(row["equivalent_cosine"])


def test_weights_between_frozen_bases_move_as_written_out(project):
    moment = last("lora-sb")
    along = random_like(moment.parameters)
    place = [id(value) for value in moment.parameters].index(id(adapter(moment, "lora_xs_R")[0]))
    B, A = adapter(moment, "lora_xs_B", "lora_xs_A")
    expected = B.double() @ along[place].double() @ A.double()
    # a float32 difference of 1e-2 of the parameters
    torch.testing.assert_close(
        moment.change_along(along)[WEIGHT].double(), expected, rtol=0, atol=1e-4
    )


def test_weight_of_two_trained_factors_moves_as_written_out(project):
    moment = last("lora")
    before = [value.clone() for value in moment.parameters]
    along = random_like(moment.parameters)
    A, B = (value.double() for value in adapter(moment, "lora_A", "lora_B"))
    layer = moment.model.get_base_model().get_submodule(WEIGHT)
    places = [id(value) for value in moment.parameters]
    dA, dB = (
        along[places.index(id(getattr(layer, name)["default"].weight))].double()
        for name in ("lora_A", "lora_B")
    )
    expected = B @ dA + dB @ A
    found = moment.change_along(along)[WEIGHT].double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    # bit for bit: what follows is measured at the same point
    assert all(torch.equal(a, b) for a, b in zip(before, moment.parameters, strict=True))


@pytest.mark.parametrize("variant", kept.VARIANTS)
def test_change_stays_between_the_bases_that_a_method_calls_fixed(project, variant):
    *_, early, late = replay(kept.study(), kept.keep(variant), kept.ROWS)
    bases = late.method.fixed_bases(late.model)
    assert set(bases) in (set(), set(late.base))
    for name, pair in bases.items():
        change = late.updates[name] - early.updates[name]
        inside = projection(change, orthonormal(pair))
        # float32 sums of 4 products
        torch.testing.assert_close(inside, change, rtol=0, atol=1e-4 * change.abs().max().item())


def test_no_direction_moves_nothing(project):
    moment = last("lora")
    still = moment.change_along([torch.zeros_like(value) for value in moment.parameters])
    assert not any(value.any() for value in still.values())


def test_all_zero_parameters_have_a_derivative(project):
    moment = last("lora-sb")
    with torch.no_grad():
        for value in moment.parameters:
            value.zero_()
    along = random_like(moment.parameters)
    assert moment.change_along(along)[WEIGHT].norm() == pytest.approx(
        along[0].norm().item(), rel=0.5
    )


def test_snapshots_of_other_parameters_are_refused(project):
    cell = kept.keep("lora")
    path = cell.folder / "snapshots.safetensors"
    tensors = load_file(path)
    del tensors["1/base_model.model.score.modules_to_save.default.weight"]
    save_file(tensors, path)
    with pytest.raises(UserError, match="step 1 does not have the parameters"):
        list(replay(kept.study(), cell, kept.ROWS))
