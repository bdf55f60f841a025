"""What PEFT's users expect of any tuner: patterns, biases, tokens, scales, combinations, doors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.helpers import disable_input_dtype_casting
from peft.utils.hotswap import hotswap_adapter
from torch import Tensor
from transformers import PreTrainedModel

from lorasb import export_lora
from lorasb.errors import UserError
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from tests.unit.tiny import LLAMA_TARGETS, sequences, tiny_bert, tiny_llama, train

IDS = torch.stack(sequences(0, [8, 8, 8]))


def adapted(model: PreTrainedModel | None = None, **options: Any) -> peft.PeftModel:
    values = {"r": 4, "target_modules": LLAMA_TARGETS} | options
    return peft.get_peft_model(model or tiny_llama(0), LoraXSConfig(**values))


def trained(**options: Any) -> peft.PeftModel:
    model = adapted(**options)
    train(model, {"input_ids": IDS, "labels": IDS})
    return model.eval()


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def layers(model: torch.nn.Module) -> dict[str, LoraXSLayer]:
    return {m.name: m for m in model.modules() if isinstance(m, LoraXSLayer)}


def test_patterns_give_layers_their_own_rank_and_scaling(tmp_path):
    options = {
        "rank_pattern": {"v_proj": 2, r"layers\.1\..*down_proj": 3},
        "scaling_pattern": {"1.self_attn.q_proj": 0.5},
        "scaling": 2.0,
    }
    model = trained(**options)
    found = {
        name.removeprefix("model.layers."): (layer.r["default"], layer.scaling["default"])
        for name, layer in layers(model).items()
    }
    assert found == {
        "0.self_attn.q_proj": (4, 2.0),
        "0.self_attn.v_proj": (2, 2.0),
        "0.mlp.down_proj": (4, 2.0),
        "1.self_attn.q_proj": (4, 0.5),
        "1.self_attn.v_proj": (2, 2.0),
        "1.mlp.down_proj": (3, 2.0),
    }
    model.save_pretrained(tmp_path / "own")
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "own")
    assert torch.equal(logits(loaded), logits(model))
    export_lora(model, tmp_path / "lora")
    plain = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "lora")
    # the same product in another order, in float32
    torch.testing.assert_close(logits(plain), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rank_pattern": {"v_proj": 0}}, "r is 0"),
        ({"scaling_pattern": {"v_proj": 0.0}}, "scaling is 0"),
        ({"rank_pattern": {"up_proj": 2}}, "rank_pattern 'up_proj' is the first match of no"),
        ({"scaling_pattern": {"up_proj": 2.0}}, "scaling_pattern 'up_proj' is the first match"),
        ({"rank_pattern": {"v_proj": 9}}, r"v_proj: r is 9; the largest .* 8, which rank_pattern"),
        ({"bias": "some"}, "bias 'some' is unknown"),
    ],
)
def test_patterns_that_cannot_hold_are_refused(options, match):
    with pytest.raises(UserError, match=match):
        adapted(**options)


@pytest.mark.parametrize("bias", ["all", "lora_xs_only"])
def test_biases_are_trained_and_come_back(bias, tmp_path):
    def base() -> PreTrainedModel:
        return tiny_bert(0, dropout=0.0)

    model = adapted(base(), target_modules=["query"], bias=bias)
    free = {name for name, p in model.named_parameters() if p.requires_grad and "bias" in name}
    assert free == {
        name
        for name, _ in model.named_parameters()
        if name.endswith("query.base_layer.bias") or (bias == "all" and name.endswith("bias"))
    }
    batch = {"input_ids": IDS, "labels": torch.tensor([0, 1, 0])}
    train(model, batch)
    model.eval().save_pretrained(tmp_path / "own")
    loaded = peft.PeftModel.from_pretrained(base(), tmp_path / "own")
    assert torch.equal(logits(loaded), logits(model))
    export_lora(model, tmp_path / "lora")
    plain = peft.PeftModel.from_pretrained(base(), tmp_path / "lora")
    # the same product in another order, in float32
    torch.testing.assert_close(logits(plain), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"ensure_weight_tying": True}])
def test_rows_of_the_embedding_are_trained_and_come_back(options, tmp_path):
    model = trained(trainable_token_indices=[3, 5], **options)
    rows = model.get_base_model().get_input_embeddings().weight.detach()
    changed = (rows != tiny_llama(0).get_input_embeddings().weight).any(dim=1)
    assert set(changed.nonzero().flatten().tolist()) <= {3, 5}
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"], r".*q_proj|lm_head"])
def test_adapters_are_not_tied_where_the_embedding_has_none(targets):
    """The choice to keep them tied is refused, not forgotten."""
    model = trained()
    tied = LoraXSConfig(r=4, target_modules=targets, ensure_weight_tying=True)
    with pytest.raises(UserError, match=r"tied to the embedding \(lm_head\), which"):
        model.add_adapter("other", tied)
    assert set(model.peft_config) == {"default"}
    assert "lm_head" not in layers(model)
    model.add_adapter("other", LoraXSConfig(r=4, target_modules=targets))
    assert "other" in layers(model)["lm_head"].r


def test_scales_are_set_multiplied_and_taken_back():
    model = trained(scaling=2.0)
    layer = next(iter(layers(model).values()))
    update = layer.get_delta_weight("default")
    layer.set_scale("default", 3.0)
    torch.testing.assert_close(layer.get_delta_weight("default"), 3 * update)
    layer.scale_layer(0.5)
    assert layer.scaling == {"default": 3.0}
    layer.unscale_layer(0.25)
    assert layer.scaling == {"default": 12.0}
    layer.unscale_layer()
    assert layer.scaling == {"default": 2.0}
    layer.set_scale("another", 3.0)
    assert layer.scaling == {"default": 2.0}


def test_input_may_keep_its_dtype():
    """As PEFT's context for layers whose input other hooks cast: float16 is not made float32."""
    model = trained(model=tiny_llama(0).half())
    expected = logits(model)
    with disable_input_dtype_casting(model):
        kept = logits(model)
    assert not torch.equal(kept, expected)
    torch.testing.assert_close(kept, expected, rtol=0.0, atol=0.05)  # float16 of logits below 8
    assert torch.equal(logits(model), expected)


def two() -> peft.PeftModel:
    """Two trained adapters of the same bases; the second has one layer less."""
    model = trained()
    targets = ["q_proj", "down_proj"]
    model.add_adapter("other", LoraXSConfig(r=4, target_modules=targets, scaling=2.0))
    model.set_adapter("other")
    train(model, {"input_ids": IDS.flip(0), "labels": IDS}, steps=2)
    return model.eval()


@pytest.mark.parametrize(("kind", "rank"), [("linear", 4), ("cat", 8)])
def test_adapters_are_combined_exactly(kind, rank, tmp_path):
    model = two()
    model.add_weighted_adapter(["default", "other"], [0.75, -0.5], "sum", combination_type=kind)
    for name, layer in layers(model).items():
        expected = 0.75 * layer.get_delta_weight("default")
        if "v_proj" not in name:
            expected = expected - 0.5 * layer.get_delta_weight("other")
        # sums in another order, in float32
        torch.testing.assert_close(layer.get_delta_weight("sum"), expected, atol=1e-5, rtol=1e-5)
        assert layer.r["sum"] == (rank if "v_proj" not in name else 4)
    model.set_adapter("sum")
    before = logits(model)
    model.save_pretrained(tmp_path, selected_adapters=["sum"])
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "sum")
    assert torch.equal(logits(loaded), before)


def test_what_cannot_be_combined_is_refused_and_leaves_nothing_behind():
    model = two()
    model.add_adapter("basis", LoraXSConfig(r=4, target_modules=["q_proj"], init_weights="empty"))
    model.add_adapter("head", LoraXSConfig(r=4, target_modules=["q_proj"], bias="all"))
    model.add_adapter("wide", LoraXSConfig(r=8, target_modules=["v_proj"]))
    for names, kind, match in (
        (["default", "basis"], "linear", "'default' and 'basis' have other bases"),
        (["default", "none"], "linear", "no adapter 'none'"),
        (["default", "head"], "linear", "adapter 'head' has trained biases"),
        (["default", "other"], "svd", "combination_type 'svd' is unknown"),
        (["default", "wide"], "cat", r"v_proj: r is 12; the largest rank here is 8"),
    ):
        with pytest.raises(UserError, match=match):
            model.add_weighted_adapter(names, [1.0, 1.0], "sum", combination_type=kind)
        assert "sum" not in model.peft_config
        assert not any("sum" in layer.r for layer in layers(model).values())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"combination_type": "ties", "density": 0.5}, "'ties' is unknown for lora_xs; known: lin"),
        ({"combination_type": "cat", "density": 0.5}, "'density' means nothing with linear, cat"),
        ({"svd_rank": 2}, "'svd_rank' means nothing with"),
        ({"adapter_name": "other"}, "'other' is there already; delete it first"),
        ({"weights": [1.0]}, "1 weights for 2 adapters"),
        ({"adapters": [], "weights": []}, "0 weights for 0 adapters; give at least one"),
    ],
)
def test_settings_that_mean_nothing_to_a_combination_are_refused(options, match):
    model = two()
    before = layers(model)["model.layers.0.self_attn.q_proj"].get_delta_weight("other")
    request = {"adapters": ["default", "other"], "weights": [1.0, 1.0], "adapter_name": "sum"}
    with pytest.raises(UserError, match=match):
        model.add_weighted_adapter(**request | options)
    assert set(model.peft_config) == {"default", "other"}
    after = layers(model)["model.layers.0.self_attn.q_proj"].get_delta_weight("other")
    assert torch.equal(after, before)


def test_an_adapter_that_is_named_twice_counts_twice():
    model = two()
    model.add_weighted_adapter(["default", "other", "default"], [1.0, 0.0, 2.0], "sum")
    layer = layers(model)["model.layers.0.self_attn.v_proj"]
    torch.testing.assert_close(layer.get_delta_weight("sum"), 3 * layer.get_delta_weight("default"))


def test_a_second_adapter_finds_all_linear_layers():
    model = adapted(target_modules="all-linear", r=2)
    model.add_adapter("other", LoraXSConfig(r=3, target_modules="all-linear"))
    assert all(layer.r == {"default": 2, "other": 3} for layer in layers(model).values())
    assert len(layers(model)) == 14


def test_doors_of_transformers_and_peft(tmp_path):
    model = trained(task_type="CAUSAL_LM")
    native = tiny_llama(0)
    native.save_pretrained(tmp_path / "base")
    native.add_adapter(LoraXSConfig(r=4, target_modules=LLAMA_TARGETS))
    train(native, {"input_ids": IDS, "labels": IDS})
    assert torch.equal(logits(native.eval()), logits(model))
    native.save_pretrained(tmp_path / "native")
    again = tiny_llama(0)
    again.load_adapter(tmp_path / "native")
    assert torch.equal(logits(again), logits(model))
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "native")
    assert torch.equal(logits(loaded), logits(model))
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "auto")
    auto = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "auto")
    assert torch.equal(logits(auto.eval()), logits(model))


def test_what_peft_keeps_to_its_own_methods_is_refused_by_it(tmp_path: Path):
    with pytest.raises(ValueError, match="LORA_XS"):
        peft.get_peft_model(tiny_llama(0), LoraXSConfig(target_modules=["q_proj"]), mixed=True)
    model = trained()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Hotswapping only supports"):
        hotswap_adapter(model, tmp_path, "default")


def test_safe_merge_speaks_as_in_peft():
    model = trained()
    next(iter(layers(model).values())).lora_xs_R["default"].data[0, 0] = float("nan")
    message = r"NaNs detected in the merged weights\. The adapter default seems to be broken"
    with pytest.raises(ValueError, match=message):
        model.merge_and_unload(safe_merge=True)


def test_a_model_on_the_meta_device_is_adapted():
    with torch.device("meta"):
        hollow = type(tiny_llama(0))(tiny_llama(0).config)
    model = adapted(hollow)
    assert all(value.is_meta for value in model.state_dict().values())
    filled = trained().state_dict()
    model.load_state_dict(filled, assign=True)
    assert all(torch.equal(value, filled[key]) for key, value in model.state_dict().items())
