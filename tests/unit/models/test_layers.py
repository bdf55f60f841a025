"""Which layers are adapted: one rule, PEFT's, for gradients, factors, counts and the tuner."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.models.layers import matching_modules, target_shapes
from lorasb.start.gradients import estimate_gradients
from lorasb.tuner import LoraXSConfig
from tests.unit.tiny import sequences, tiny_bert, tiny_gpt2, tiny_llama, tiny_roberta

IDS = torch.stack(sequences(0, [8, 8, 8]))


def adapted_by(config: peft.PeftConfig, model: PreTrainedModel) -> list[str]:
    adapted = peft.get_peft_model(model, config).get_base_model()
    return [name for name, module in adapted.named_modules() if hasattr(module, "base_layer")]


RULES: list[tuple[Callable[[], PreTrainedModel], dict[str, Any]]] = [
    (lambda: tiny_roberta(0), {"target_modules": ["dense"], "modules_to_save": ["classifier"]}),
    (lambda: tiny_roberta(0), {"target_modules": "all-linear", "modules_to_save": ["classifier"]}),
    (
        lambda: tiny_roberta(0),
        {"target_modules": ["query", "dense"], "exclude_modules": ["classifier.dense"]},
    ),
    (
        lambda: tiny_roberta(0),
        {"target_modules": ["dense"], "exclude_modules": r".*(classifier|1\.out).*"},
    ),
    (lambda: tiny_llama(0), {"target_modules": ["q_proj"], "layers_to_transform": 1}),
    (lambda: tiny_llama(0), {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0]}),
    (
        lambda: tiny_llama(0),
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    ),
    (lambda: tiny_llama(0), {"target_modules": r".*\.1\.mlp\.(up|down)_proj"}),
    (lambda: tiny_llama(0), {"target_modules": "all-linear"}),
    (lambda: tiny_llama(0), {"target_modules": None}),
    (lambda: tiny_gpt2(0), {"target_modules": None}),
    (lambda: tiny_llama(0), {"target_modules": ["model.layers.0.self_attn.q_proj"]}),
]


@pytest.mark.parametrize("kind", [LoraXSConfig, peft.LoraConfig])
@pytest.mark.parametrize(("make", "options"), RULES)
def test_what_matches_is_what_peft_adapts(make, options, kind):
    config = kind(r=2, **options)
    found = list(matching_modules(make(), config))
    assert config.to_dict() == kind(r=2, **options).to_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT: the weight of a Conv1D is transposed
        assert found == adapted_by(config, make())
    assert found
    assert list(target_shapes(make(), config)) == found


def test_a_string_is_one_expression_and_the_head_is_left_out_of_any():
    assert list(matching_modules(tiny_roberta(0), r".*dense", ["classifier"])) == list(
        matching_modules(tiny_roberta(0), ["dense"], ["classifier"])
    )
    names = matching_modules(tiny_roberta(0), "all-linear", ["classifier"])
    assert len(names) == 12
    assert not any("classifier" in name for name in names)


def test_an_adapted_model_matches_by_the_names_of_its_base_layers():
    expected = list(matching_modules(tiny_llama(0), ["q_proj", "up_proj"]))
    model = tiny_llama(0)
    peft.get_peft_model(model, LoraXSConfig(r=2, target_modules=["q_proj"]))
    found = matching_modules(model, ["q_proj", "up_proj"])
    assert list(found) == expected
    assert {type(module) for module in found.values()} == {nn.Linear}


def test_an_architecture_without_a_choice_of_peft_needs_names():
    model = tiny_llama(0)
    model.config = {"model_type": "unheard-of"}
    with pytest.raises(UserError, match="no choice for a model of type 'unheard-of'; name them"):
        matching_modules(model, LoraXSConfig())


class Int8Params(nn.Parameter):
    """As bitsandbytes' parameter: a subclass whose data are codes."""

    def __new__(cls, data: torch.Tensor) -> Int8Params:
        return torch.Tensor._make_subclass(cls, data, False)


class Codes(torch.Tensor):
    """As torchao's tensors: says that it is float32, and holds something else."""


class Packed(nn.Module):
    """As the layers of GPTQ and AWQ."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("qweight", torch.zeros(2, 16, dtype=torch.int32))


def with_weight(change: Callable[[torch.Tensor], nn.Parameter]) -> Callable[[], nn.Module]:
    def layer() -> nn.Module:
        made = nn.Linear(16, 16, bias=False)
        made.weight = change(made.weight.data)
        return made

    return layer


def frozen(values: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


QUANTISED: dict[str, Callable[[], nn.Module]] = {
    "int8": with_weight(lambda w: Int8Params((127 * w).to(torch.int8))),
    "int8, of a plain class": with_weight(lambda w: frozen((127 * w).to(torch.int8))),
    "before it is moved": with_weight(lambda w: Int8Params(w.half())),
    "four bits": with_weight(lambda w: frozen(torch.zeros(128, 1, dtype=torch.uint8))),
    "packed into floats": with_weight(lambda w: frozen(w[:, :4].clone())),
    "float8": with_weight(lambda w: frozen(w.to(torch.float8_e4m3fn))),
    "a tensor of its own class": with_weight(lambda w: nn.Parameter(w.as_subclass(Codes))),
    "a layer of its own class": Packed,
    "dynamic": lambda: torch.ao.nn.quantized.dynamic.Linear(16, 16),
    "computed": lambda: torch.nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)),
}


def quantised(kind: str) -> PreTrainedModel:
    model = tiny_llama(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to move
        model.model.layers[1].self_attn.q_proj = QUANTISED[kind]()
    return model


@pytest.mark.parametrize("rank", [2, 10_000])
@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_layers_are_refused_everywhere(kind, rank):
    match = r"layers\.1\.self_attn\.q_proj: .* cannot be adapted.* in full or half precision"
    with pytest.raises(UserError, match=match):
        matching_modules(quantised(kind), ["q_proj"])
    with pytest.raises(UserError, match=match):
        batch = {"input_ids": IDS, "labels": IDS}
        estimate_gradients(quantised(kind), [batch], target_modules=["q_proj"], num_samples=3)
    for init in ("weights", "empty"):
        with pytest.raises(UserError, match=match):
            config = LoraXSConfig(r=rank, target_modules=["q_proj"], init_weights=init)
            peft.get_peft_model(quantised(kind), config)
    # layers that were left out of the quantisation
    found = matching_modules(quantised(kind), ["v_proj", "layers.0.self_attn.q_proj"])
    assert len(found) == 3


def test_a_projection_that_attention_reads_by_itself_is_refused():
    model = tiny_bert(0)
    model.attention = nn.MultiheadAttention(8, 2)
    with pytest.raises(UserError, match="out_proj: torch's MultiheadAttention reads the weight"):
        matching_modules(model, ["query", "out_proj"])
