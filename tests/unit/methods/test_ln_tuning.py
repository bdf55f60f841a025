"""LN tuning: which layers are norms, what they count, and that merging them gives the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lorasb.errors import UserError
from lorasb.methods.registry import make_variant
from lorasb.models.layers import norm_layers, target_shapes
from lorasb.study.counts import adapted_shapes
from lorasb.study.study import Study
from tests.contract.test_methods import LLAMA_TARGETS, attached, context, logits, step
from tests.unit.tiny import BERT_TARGETS, GPT2_TARGETS, tiny_bert, tiny_gpt2, tiny_llama


@pytest.mark.parametrize(
    ("build", "targets", "layers", "numbers"),
    [
        # lengths alone: two a block and one at the end
        (tiny_llama, LLAMA_TARGETS, 5, 5 * 16),
        # lengths and shifts: two a block and one of the embeddings
        (tiny_bert, BERT_TARGETS, 5, 5 * 2 * 16),
        (tiny_gpt2, GPT2_TARGETS, 3, 3 * 2 * 16),
    ],
)
def test_all_norms_of_a_model_are_counted(build, targets, layers, numbers):
    assert len(norm_layers(build(0))) == layers
    assert target_shapes(build(0), targets).norms == numbers


def test_norms_of_the_head_and_those_without_lengths_are_left_out():
    model = nn.ModuleDict({"body": nn.LayerNorm(4), "head": nn.Sequential(nn.RMSNorm(4))})
    model["plain"] = nn.LayerNorm(4, elementwise_affine=False)
    assert list(norm_layers(model, ["head"])) == ["body"]


def test_counts_of_a_study_are_the_same_where_shapes_were_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []
    for _ in range(2):
        adapted_shapes.cache_clear()
        shapes, _, _ = adapted_shapes(Study.load("quickstart"), "quickstart-llama", "arithmetic")
        found.append(make_variant("ln-tuning").method.count(shapes, 0, 0))
    adapted_shapes.cache_clear()
    # four blocks of width 128: two norms each, and one at the end
    assert found[0].trainable == found[0].stored == 9 * 128
    assert found[0] == found[1]


def test_merged_model_is_the_trained_one(tmp_path):
    method, model, _ = attached("ln-tuning", tmp_path)
    step(method, model)
    expected = logits(model)
    assert not torch.equal(expected, logits(tiny_llama(0)))
    merged = model.merge_and_unload()
    assert torch.equal(logits(merged), expected)
    assert type(merged.model.norm) is type(tiny_llama(0).model.norm)


def test_norms_of_a_bfloat16_model_return_its_dtype(tmp_path):
    model = tiny_llama(0).bfloat16()
    expected = logits(model)
    told = context(tiny_llama(0), LLAMA_TARGETS, tmp_path)
    adapted = make_variant("ln-tuning").method.attach(model, told)
    assert adapted.get_base_model().model.norm(torch.ones(1, 16).bfloat16()).dtype == torch.bfloat16
    # the same but for one rounding of each norm: 8 bits of logits of size 1, through two blocks
    torch.testing.assert_close(logits(adapted), expected, rtol=0, atol=0.1)


def test_a_model_without_norms_is_refused(tmp_path):
    model = tiny_llama(0)
    told = context(model, LLAMA_TARGETS, tmp_path)
    for block in model.model.layers:
        block.input_layernorm = block.post_attention_layernorm = nn.Identity()
    model.model.norm = nn.Identity()
    with pytest.raises(UserError, match="has no norms with weights"):
        make_variant("ln-tuning").method.attach(model, told)
