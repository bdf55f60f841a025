"""Activations against sums over the layers' inputs, written out in float64."""

from __future__ import annotations

import pytest
import torch

from lorasb.errors import UserError
from lorasb.start.activations import (
    estimate_activations,
    load_activations,
    save_activations,
)
from tests.unit.tiny import BERT_TARGETS, LLAMA_TARGETS, sequences, tiny_bert, tiny_llama

LENGTHS = [5, 11, 3]


@pytest.mark.parametrize(
    ("build", "targets", "layer", "block"),
    [
        (tiny_llama, LLAMA_TARGETS, "model.layers.1.self_attn.v_proj", "model.layers.1"),
        (tiny_bert, BERT_TARGETS, "bert.encoder.layer.1.output.dense", "bert.encoder.layer.1"),
    ],
)
def test_moments_of_inputs_and_means_between_blocks(tmp_path, build, targets, layer, block):
    rows = [{"input_ids": row[None]} for row in sequences(1, LENGTHS)]
    found = estimate_activations(build(0), rows, target_modules=targets)
    save_activations(found, tmp_path / "a.safetensors")
    found = load_activations(tmp_path / "a.safetensors")
    inputs, entering = [], []
    twin = build(0).double().eval()
    twin.get_submodule(layer).register_forward_pre_hook(lambda _, x: inputs.append(x[0][0]))
    twin.get_submodule(block).register_forward_pre_hook(lambda _, x: entering.append(x[0][0]))
    with torch.no_grad():
        for row in rows:
            twin(**row)
    x, own = torch.cat(inputs), found.moments[layer]
    close = {"rtol": 1e-4, "atol": 1e-5}  # float32 against float64, of values of size 1
    torch.testing.assert_close(own.second.double(), x.T @ x / len(x), **close)
    torch.testing.assert_close(own.covariance.double(), x.T.cov(correction=0), **close)
    assert own.tokens == pytest.approx(19 / 3)
    assert own.largest == pytest.approx(max(abs(float(one.max())) for one in inputs), rel=1e-5)
    means = torch.stack([one.mean(dim=0) for one in entering])
    assert found.states.shape == (3, 3, 16)  # two blocks, three samples
    torch.testing.assert_close(found.states[1].double(), means, **close)


def test_what_is_damaged_or_missing_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no sample"):
        estimate_activations(tiny_llama(0), [], target_modules=LLAMA_TARGETS)
    rows = [{"input_ids": sequences(1, [4])[0][None]}]
    found = estimate_activations(tiny_llama(0), rows, target_modules=LLAMA_TARGETS)
    found.states[0, 0, 0] = float("nan")
    save_activations(found, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a.safetensors: states is not finite"):
        load_activations(tmp_path / "a.safetensors")
