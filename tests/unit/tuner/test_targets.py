"""Layers that an adapter would not reach, or would not act on, are refused or made to work."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

from lorasb.errors import UserError
from lorasb.tuner import LoraXSConfig, LoraXSLayer

SIZES = {
    **{"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts_per_tok": 2},
}


def mixtral() -> nn.Module:
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4))


def qwen_moe() -> nn.Module:
    sizes = {"moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 4}
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **sizes))


def adapted(model: nn.Module, **options: Any) -> set[str]:
    """Ends of the names of the layers that are adapted."""
    found = peft.get_peft_model(model, LoraXSConfig(r=1, **options))
    names = (name for name, module in found.named_modules() if isinstance(module, LoraXSLayer))
    return {name.partition("layers.0.")[2] for name in names}


@pytest.mark.parametrize(
    ("mixture", "targets"),
    [
        (mixtral, "all-linear"),
        (mixtral, ["q_proj", "down_proj"]),
        (mixtral, r".*\.(q_proj|gate_up_proj)"),
        (qwen_moe, "all-linear"),
        (qwen_moe, ["q_proj", "gate_proj"]),
        (qwen_moe, r".*\.(q_proj|up_proj)"),
    ],
)
def test_stacked_experts_are_refused_where_targets_mean_them(mixture, targets):
    with pytest.raises(UserError, match=r"mlp\.experts: gate_up_proj and down_proj hold the w"):
        adapted(mixture(), target_modules=targets)


def test_stacked_parameters_are_refused():
    with pytest.raises(UserError, match=r"target_parameters \['experts.down_proj'\]: not support"):
        LoraXSConfig(target_modules=["q_proj"], target_parameters=["experts.down_proj"])
    assert LoraXSConfig(target_modules=["q_proj"], target_parameters=None).r == 32


def test_the_rest_of_a_mixture_is_adapted():
    attention = {f"self_attn.{name}_proj" for name in "qkvo"}
    assert adapted(mixtral(), target_modules="all-linear", exclude_modules=["experts"]) == attention
    assert adapted(mixtral(), target_modules=["q_proj"]) == {"self_attn.q_proj"}
    shared = {"mlp.shared_expert.down_proj"}
    assert adapted(qwen_moe(), target_modules=["shared_expert.down_proj"]) == shared
    found = adapted(qwen_moe(), target_modules=["down_proj"], exclude_modules=["experts"])
    assert found == shared


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2)
        self.after = nn.Linear(16, 16)


@pytest.mark.parametrize("targets", ["all-linear", ["out_proj"], ["after", "out_proj"]])
def test_a_layer_that_torchs_attention_reads_past_is_refused(targets):
    with pytest.raises(UserError, match=r"out_proj: .*an adapter on it would do nothing"):
        adapted(Attention(), target_modules=targets)
    model = peft.get_peft_model(
        Attention(), LoraXSConfig(r=1, target_modules="all-linear", exclude_modules=["out_proj"])
    )
    assert isinstance(model.after, LoraXSLayer)


def test_an_adapter_acts_in_torchs_encoder_too():
    """Whose fast path, outside training, takes the weights of both layers by itself."""
    encoder = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)).eval()
    x = torch.randn(2, 3, 16)
    with torch.no_grad():
        before = encoder(x)
        model = peft.get_peft_model(encoder, LoraXSConfig(r=4, target_modules=["linear2"]))
        model.base_model.model[0].linear2.lora_xs_R["default"].copy_(torch.eye(4))
        after = model.eval()(x)
        merged = model.merge_and_unload()(x)
    assert not torch.allclose(after, before, atol=0.1)
    # the fast path, in float32
    torch.testing.assert_close(merged, after, atol=1e-5, rtol=1e-5)


class Float8Linear(nn.Linear):
    """As models in FP8 have them: codes, and a scale beside them."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(columns, rows)
        self.weight = nn.Parameter(self.weight.to(torch.float8_e4m3fn), requires_grad=False)
        self.weight_scale_inv = nn.Parameter(torch.ones(1), requires_grad=False)


def test_float8_weights_are_refused():
    with pytest.raises(UserError, match=r"0: its weight is a Parameter of torch.float8_e4m3fn"):
        adapted(nn.Sequential(Float8Linear(8, 8)), target_modules=["0"])


@pytest.mark.parametrize("settings", [None, {}, {"hidden_size": 4}, {"model_type": "unheard-of"}])
def test_targets_are_asked_for_where_peft_has_no_choice(settings):
    model = nn.Sequential(nn.Linear(4, 4))
    if settings is not None:
        model.config = settings
    with pytest.raises(UserError, match="target_modules: PEFT has no choice for a model of type"):
        peft.get_peft_model(model, LoraXSConfig(r=1))


def test_peft_chooses_by_settings_in_a_dictionary():
    model = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("q_proj", "v_proj", "o_proj")})
    model.config = {"model_type": "llama"}
    peft.get_peft_model(model, LoraXSConfig(r=1))
    assert [isinstance(layer, LoraXSLayer) for layer in model.values()] == [True, True, False]
