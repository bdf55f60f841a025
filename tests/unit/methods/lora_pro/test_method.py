"""Which parameters LoRA-Pro's optimiser is given, and with which scaling."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lorasb.errors import UserError
from lorasb.methods.lora_pro.method import LoraPro, lora_pairs
from lorasb.methods.registry import make_variant
from lorasb.models.layers import target_shapes
from tests.unit.methods.peft.test_method import context, layers, trained
from tests.unit.tiny import BERT_TARGETS, LLAMA_TARGETS, tiny_bert, tiny_llama


def test_pairs_come_with_the_scaling_of_their_own_layer():
    config = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=LLAMA_TARGETS,
        use_rslora=True,
        rank_pattern={"q_proj": 2},
        alpha_pattern={"v_proj": 5},
    )
    model = get_peft_model(tiny_llama(0), config)
    expected = {"q_proj": 16 / 2**0.5, "v_proj": 5 / 4**0.5, "down_proj": 16 / 4**0.5}
    pairs = lora_pairs(model)
    for (name, layer), pair in zip(layers(model).items(), pairs, strict=True):
        assert pair.A is layer.lora_A["default"].weight
        assert pair.B is layer.lora_B["default"].weight
        assert pair.scaling == pytest.approx(expected[name.split(".")[-1]], rel=1e-15)


def test_task_head_is_trained_besides_the_pairs():
    method = make_variant("lora-pro").method
    told = context(BERT_TARGETS)
    told = type(told)(**vars(told) | {"task_head": ["classifier"]})
    model = method.attach(tiny_bert(0), told)
    groups = method.optimizer(model, 0.1, 0.0).param_groups
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    given = [id(p) for group in groups for p in group["params"]]
    assert sorted(given) == sorted(trainable)
    assert [p.shape for p in groups[1]["params"]] == [(2, 16), (2,)]
    assert len(groups[0]["params"]) == 2 * len(groups[0]["scalings"])


@pytest.mark.parametrize("variant", ["lora-pro", "lora-pro-efficient"])
def test_count_of_the_state_is_what_the_optimiser_holds(variant):
    method = make_variant(variant).method
    model = method.attach(tiny_llama(0), context(LLAMA_TARGETS))
    ids = torch.tensor([[5, 6, 7, 8]])
    optimizer = method.optimizer(model, 1e-2, 0.0)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    held = sum(
        value.numel()
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    )
    shapes = target_shapes(tiny_llama(0), LLAMA_TARGETS)
    assert method.count(shapes, 4, 0).optimizer_state == held


def test_the_two_forms_and_lora_train_to_different_weights():
    ends = [
        layers(trained(make_variant(variant).method)[0])["model.layers.1.mlp.down_proj"]
        .lora_B["default"]
        .weight
        for variant in ("lora", "lora-pro", "lora-pro-efficient")
    ]
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])
    assert not torch.equal(ends[0], ends[2])


def test_adapter_with_more_than_two_factors_is_refused():
    options = {"r": "rank", "lora_alpha": "rank", "use_dora": True}
    method = LoraPro("full", options)
    model = method.attach(tiny_llama(0), context(LLAMA_TARGETS))
    with pytest.raises(UserError, match="needs a plain LoRA"):
        method.optimizer(model, 0.1, 0.0)
