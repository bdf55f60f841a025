"""Which modules become float32, and that the model runs then."""

from __future__ import annotations

import pytest
import torch

from lorasb.models.precision import hold_in_float32, lower
from tests.unit.tiny import tiny_bert

INPUTS = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "labels": torch.tensor([1])}


def test_named_modules_are_float32_and_the_others_as_before():
    model = tiny_bert(0).bfloat16()
    hold_in_float32(model, ["classifier", "pooler.dense"])
    held = {name for name, value in model.named_parameters() if value.dtype == torch.float32}
    layers = ("classifier", "bert.pooler.dense")
    assert held == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert set(lower(model)) == {name for name, _ in model.named_parameters()} - held


@pytest.mark.parametrize(
    "name", ["ooler", "pooler.den", "classifier.weight", "encoder.layer.0.attention.output.den"]
)
def test_a_name_is_whole_or_an_end_after_a_dot(name):
    model = tiny_bert(0).bfloat16()
    hold_in_float32(model, [name])
    assert {value.dtype for name, value in model.named_parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("autocast", [False, True])
def test_model_of_two_dtypes_runs_and_trains(autocast):
    model = tiny_bert(0).bfloat16().requires_grad_(False)
    hold_in_float32(model, ["classifier"])
    model.classifier.requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        model(**INPUTS).loss.backward()
    assert model.classifier.weight.grad.dtype == torch.float32
    assert lower(model, trained=True) == []


def test_a_float32_model_is_left_alone():
    model = tiny_bert(0)
    hold_in_float32(model, ["classifier"])
    assert not model.classifier._forward_pre_hooks
    assert lower(model) == []
