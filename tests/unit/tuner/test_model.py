"""Adapters in a model: saving, loading, several of them, and what PEFT promises for its tuners."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.start.fill import initialize_lora_sb
from lorasb.tuner import LoraXSConfig, LoraXSLayer, layer
from tests.unit.tiny import (
    BERT_TARGETS,
    GPT2_TARGETS,
    LLAMA_TARGETS,
    sequences,
    tiny_bert,
    tiny_gpt2,
    tiny_llama,
    train,
)

IDS = torch.stack(sequences(0, [8, 8, 8]))
ROOT = Path(__file__).resolve().parents[3]


def adapted(model: PreTrainedModel | None = None, **options: Any) -> peft.PeftModel:
    values = {"r": 4, "target_modules": LLAMA_TARGETS} | options
    return peft.get_peft_model(model or tiny_llama(0), LoraXSConfig(**values))


def trained(model: PreTrainedModel | None = None, **options: Any) -> peft.PeftModel:
    made = adapted(model, **options)
    train(made, {"input_ids": IDS, "labels": IDS})
    return made.eval()


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def saved(model: peft.PeftModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("options", [{}, {"scaling": 3.0}, {"save_bases": True}, {"dropout": 0.2}])
def test_a_trained_adapter_comes_back_bit_by_bit(options, low_cpu_mem_usage, tmp_path):
    model = trained(**options)
    folder = saved(model, tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        loaded = peft.PeftModel.from_pretrained(
            tiny_llama(0), folder, low_cpu_mem_usage=low_cpu_mem_usage
        )
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.allclose(logits(model), logits(tiny_llama(0)), atol=0.1)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_stored_tensors(tmp_path):
    shapes = {"q_proj": (16, 16), "v_proj": (8, 16), "down_proj": (16, 24)}
    file = saved(trained(save_bases=True), tmp_path / "whole") / "adapter_model.safetensors"
    stored = load_file(file)
    assert len(stored) == 2 * 3 * 3
    for module, (rows, columns) in shapes.items():
        for part, shape in {"A": (4, columns), "R": (4, 4), "B": (rows, 4)}.items():
            found = [v for k, v in stored.items() if k.endswith(f"{module}.lora_xs_{part}")]
            assert [value.shape for value in found] == [shape, shape]
            assert {value.dtype for value in found} == {torch.float32}
    file = saved(trained(), tmp_path / "r") / "adapter_model.safetensors"
    parts = {name.rpartition(".")[2] for name in load_file(file)}
    assert parts == {"lora_xs_R", "lora_xs_fingerprint"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("save_dtype", ["base", "float32"])
def test_stored_bases_have_the_dtype_of_the_base_unless_told_otherwise(save_dtype, dtype, tmp_path):
    model = trained(tiny_llama(0).to(dtype), save_bases=True, save_dtype=save_dtype)
    stored = load_file(saved(model, tmp_path) / "adapter_model.safetensors")
    found = {name.rpartition("_")[2]: value.dtype for name, value in stored.items()}
    half = torch.float32 if save_dtype == "float32" else dtype
    assert found == {"A": half, "B": half, "R": torch.float32}
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0).to(dtype), tmp_path)
    bases = [v for n, v in loaded.named_buffers() if "lora_xs" in n]
    assert {value.dtype for value in bases} == {torch.float32}
    # bases that are rounded move logits of size 1 by no more than the model's own rounding
    bound = 0 if save_dtype == "float32" else 8 * torch.finfo(dtype).eps
    assert (logits(loaded) - logits(model)).abs().max() <= bound * logits(model).abs().max()


def test_an_adapter_that_was_filled_stores_its_bases(tmp_path):
    """Made from the weights first, and then started elsewhere."""
    model = adapted()
    shapes = {"q_proj": (16, 16), "v_proj": (8, 16), "down_proj": (16, 24)}
    gradients = {
        module.name: torch.randn(shapes[module.name.rpartition(".")[2]])
        for module in model.modules()
        if isinstance(module, LoraXSLayer)
    }
    initialize_lora_sb(model, gradients, 1e-2)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), saved(model.eval(), tmp_path))
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize("change", ["dtype", "weights", "turned"])
def test_bases_that_another_weight_gives_are_refused(change, tmp_path):
    """A base of another dtype or other weights, and bases turned among close singular values."""
    folder = saved(trained(save_bases=False), tmp_path)
    base = tiny_llama(0)
    if change == "dtype":
        base = base.bfloat16()
    elif change == "weights":
        base = tiny_llama(1)
    else:
        file = folder / "adapter_model.safetensors"
        stored = load_file(file)
        key = next(key for key in stored if key.endswith("fingerprint"))
        turned = torch.eye(4)
        turned[:2, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
        save_file(stored | {key: stored[key] @ turned}, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"proj: the bases .* are not those .* trained with"):
        peft.PeftModel.from_pretrained(base, folder)


def test_a_checkpoint_without_a_fingerprint_is_loaded(tmp_path):
    """As they were written before there was one."""
    model = trained(save_bases=False)
    file = saved(model, tmp_path) / "adapter_model.safetensors"
    stored = {key: value for key, value in load_file(file).items() if key.endswith("_R")}
    save_file(stored, file, {"format": "pt"})
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)
    assert torch.equal(logits(loaded), logits(model))


@pytest.mark.parametrize(("autocast", "dtype"), [(True, torch.float32), (False, torch.bfloat16)])
def test_an_adapter_has_the_bases_dtype_where_peft_is_told_so(autocast, dtype, tmp_path):
    base = tiny_llama(0).bfloat16()
    config = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS)
    model = peft.get_peft_model(base, config, autocast_adapter_dtype=autocast)
    adapter = {name: v for name, v in model.state_dict().items() if "lora_xs_" in name}
    assert {value.dtype for value in adapter.values()} == {dtype}
    train(model, {"input_ids": IDS, "labels": IDS})
    before = logits(model.eval())
    loaded = peft.PeftModel.from_pretrained(
        tiny_llama(0).bfloat16(), saved(model, tmp_path), autocast_adapter_dtype=autocast
    )
    assert torch.equal(logits(loaded), before)


def test_layers_say_their_size_as_linear_layers_do():
    sizes = {
        (module.in_features, module.out_features)
        for name, module in adapted().named_modules()
        if name.endswith("down_proj")
    }
    assert sizes == {(24, 16)}
    conv = peft.get_peft_model(tiny_gpt2(0), LoraXSConfig(r=2, target_modules=GPT2_TARGETS))
    layer = next(module for module in conv.modules() if isinstance(module, LoraXSLayer))
    assert (layer.in_features, layer.out_features) == layer.get_base_layer().weight.shape


def test_loading_stored_bases_needs_no_svd(tmp_path, monkeypatch):
    model = trained(save_bases=True)
    saved(model, tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an SVD was computed")

    monkeypatch.setattr(layer, "truncated_svd", refuse)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)
    assert torch.equal(logits(loaded), logits(model))


def test_saving_leaves_the_configuration_as_the_user_made_it(tmp_path):
    model = trained()
    saved(model, tmp_path)
    assert model.peft_config["default"].init_weights == "weights"
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["peft_type"] == "LORA_XS"
    assert written["init_weights"] == "weights"


def test_a_saved_configuration_makes_a_new_adapter(tmp_path):
    saved(trained(save_bases=True), tmp_path)
    config = LoraXSConfig.from_pretrained(tmp_path)
    config.inference_mode = False
    model = peft.get_peft_model(tiny_llama(0), config)
    new = adapted().state_dict()
    assert all(torch.equal(value, new[key]) for key, value in model.state_dict().items())
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad.any() for p in model.parameters() if p.requires_grad)
    # one of inference mode is made for loading, and says what it is when it is trained all the same
    model = peft.get_peft_model(tiny_llama(0), LoraXSConfig.from_pretrained(tmp_path))
    assert torch.equal(logits(model.eval()), logits(tiny_llama(0)))
    with pytest.raises(UserError, match=r"is empty .* make it without .* inference_mode"):
        model.train()(input_ids=IDS)


def test_transformers_own_loader_loads_and_trains_as_pefts(tmp_path):
    for save_bases in (True, False):
        for is_trainable in (True, False):
            model = trained(save_bases=save_bases)
            saved(model, tmp_path)
            native = tiny_llama(0)
            report = native.load_adapter(tmp_path, is_trainable=is_trainable)
            assert not report.missing_keys
            assert not report.unexpected_keys
            assert native.state_dict().keys() == tiny_native().state_dict().keys()
            assert torch.equal(logits(native), logits(model))
            learning = {name for name, p in native.named_parameters() if p.requires_grad}
            assert len(learning) == (6 if is_trainable else 0)
            assert all("lora_xs_R" in name for name in learning)
    native = tiny_llama(0)
    native.load_adapter(tmp_path, is_trainable=True)
    twin = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path, is_trainable=True)
    for each in (native, twin):
        train(each.train(), {"input_ids": IDS, "labels": IDS})
    assert torch.equal(logits(native.eval()), logits(twin.eval()))
    native.save_pretrained(tmp_path / "native")
    twin.save_pretrained(tmp_path / "twin")
    files = [
        load_file(tmp_path / kind / "adapter_model.safetensors") for kind in ("native", "twin")
    ]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(value, files[1][key]) for key, value in files[0].items())


def tiny_native() -> PreTrainedModel:
    model = tiny_llama(0)
    model.add_adapter(LoraXSConfig(r=4, target_modules=LLAMA_TARGETS))
    return model


@pytest.mark.parametrize("is_trainable", [False, True])
@pytest.mark.parametrize(
    ("part", "save_bases"), [("A", True), ("R", True), ("B", True), ("R", False), ("", True)]
)
def test_transformers_own_loader_refuses_a_file_that_lacks_a_tensor(
    part, save_bases, is_trainable, tmp_path
):
    file = saved(trained(save_bases=save_bases), tmp_path) / "adapter_model.safetensors"
    lacking = f"1.mlp.down_proj.lora_xs_{part}"  # all of a layer, where no part is named
    tensors = {key: value for key, value in load_file(file).items() if lacking not in key}
    save_file(tensors, file, {"format": "pt"})
    plain = tiny_llama(0)
    with pytest.raises(UserError, match=rf"lacks [13] tensors, the first is .*{lacking}"):
        plain.load_adapter(tmp_path, is_trainable=is_trainable)
    assert plain.state_dict().keys() == tiny_llama(0).state_dict().keys()
    assert not hasattr(plain, "peft_config")


@pytest.mark.parametrize("is_trainable", [False, True])
def test_transformers_own_loader_refuses_what_is_of_another_model(is_trainable, tmp_path):
    model = trained()
    file = saved(model, tmp_path) / "adapter_model.safetensors"
    with pytest.raises(UserError, match=r"proj: the bases .* are not those .* trained with"):
        tiny_llama(1).load_adapter(tmp_path, is_trainable=is_trainable)
    two = tiny_llama(0)
    two.load_adapter(tmp_path, adapter_name="first", is_trainable=is_trainable)
    tensors = load_file(file)
    more = {"base_model.model.model.layers.2.mlp.down_proj.lora_xs_R": torch.zeros(4, 4)}
    save_file(tensors | more, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"has superfluous 1 tensors.*layers\.2"):
        two.load_adapter(tmp_path, adapter_name="second", is_trainable=is_trainable)
    wide = {key: torch.zeros(5, 5) for key in tensors if key.endswith("1.mlp.down_proj.lora_xs_R")}
    save_file(tensors | wide, file, {"format": "pt"})
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):  # transformers' own words
        two.load_adapter(tmp_path, adapter_name="second", is_trainable=is_trainable)
    assert list(two.peft_config) == ["first"]
    assert torch.equal(logits(two), logits(model))


def test_a_natively_saved_adapter_tells_whose_bases_it_has(tmp_path):
    tiny_native().save_pretrained(tmp_path)
    tiny_llama(0).load_adapter(tmp_path)
    for load in (PreTrainedModel.load_adapter, peft.PeftModel.from_pretrained):
        with pytest.raises(UserError, match=r"proj: the bases .* are not those .* trained with"):
            load(tiny_llama(1), tmp_path)


def test_adapters_of_other_methods_are_loaded_by_transformers_as_ever(tmp_path):
    """A file that lacks a tensor is loaded, and what is missing is listed."""
    peft.get_peft_model(tiny_llama(0), peft.LoraConfig(r=2)).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = {k: v for k, v in load_file(file).items() if "1.self_attn.q_proj.lora_A" not in k}
    save_file(tensors, file, {"format": "pt"})
    plain = tiny_llama(0)
    (missing,) = plain.load_adapter(tmp_path).missing_keys
    assert missing.endswith("1.self_attn.q_proj.lora_A.default.weight")


def test_an_injection_that_fails_leaves_nothing_behind():
    base = tiny_llama(0)
    base.model.layers[1].self_attn.v_proj.weight.data[0, 0] = float("nan")
    names = [name for name, _ in base.named_modules()]
    with pytest.raises(UserError, match="not finite"):
        adapted(base)
    assert [name for name, _ in base.named_modules()] == names
    model = adapted(base, target_modules=["q_proj"])
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(UserError, match="not finite"):
        model.add_adapter("other", LoraXSConfig(r=2, target_modules=["q_proj", "v_proj"]))
    assert [name for name, _ in model.named_modules()] == names
    assert list(model.peft_config) == ["default"]
    assert model.base_model.model.model.layers[0].self_attn.q_proj.r == {"default": 4}


@pytest.mark.parametrize("part", ["A", "R", "B"])
def test_a_checkpoint_that_lacks_a_tensor_is_refused(part, tmp_path):
    file = saved(trained(save_bases=True), tmp_path) / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith(f"lora_xs_{part}"))
    del tensors[name]
    save_file(tensors, file)
    with pytest.raises(UserError, match=rf"lacks 1 tensors, the first is .*lora_xs_{part}"):
        peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    file = saved(trained(), tmp_path) / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors["base_model.model.model.layers.2.mlp.down_proj.lora_xs_R"] = torch.zeros(4, 4)
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"has superfluous 1 tensors.*layers\.2"):
        peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)


def test_several_adapters_are_saved_and_loaded_under_other_names(tmp_path):
    model = trained()
    # a name that is part of the other's, and of which a module's name is a part
    model.add_adapter("def", LoraXSConfig(r=2, target_modules=["q_proj", "up_proj"], seed=1))
    first = logits(model)
    model.set_adapter("def")
    train(model, {"input_ids": IDS, "labels": IDS})
    second = logits(model.eval())
    assert not torch.allclose(first, second)
    saved(model, tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "def", adapter_name="one")
    assert torch.equal(logits(loaded), second)
    loaded.load_adapter(tmp_path, adapter_name="two")
    assert torch.equal(logits(loaded), second)
    loaded.set_adapter("two")
    assert torch.equal(logits(loaded), first)
    loaded.delete_adapter("two")
    loaded.set_adapter("one")
    assert torch.equal(logits(loaded), second)
    with pytest.raises(ValueError, match="two"):
        loaded.delete_adapter("two")


def test_an_added_adapter_is_frozen_until_it_is_active():
    model = adapted()
    model.add_adapter("other", LoraXSConfig(r=2, target_modules=["up_proj", "q_proj"]))

    def trainable() -> set[str]:
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        assert all("lora_xs_R" in name for name in names)
        return {name.rpartition(".")[2] for name in names}

    assert trainable() == {"default"}
    model.set_adapter("other")
    assert trainable() == {"other"}


def test_disabled_adapter_is_the_base_model():
    model = trained()
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_llama(0)))
    assert not torch.allclose(logits(model), logits(tiny_llama(0)), atol=0.1)


@pytest.mark.parametrize("targets", [LLAMA_TARGETS, "all-linear"])
def test_merge_and_unload_gives_a_plain_model(targets):
    model = trained(target_modules=targets)
    output = logits(model)
    merged = model.merge_and_unload(safe_merge=True)
    assert not any(isinstance(module, LoraXSLayer) for module in merged.modules())
    assert merged.state_dict().keys() == tiny_llama(0).state_dict().keys()
    torch.testing.assert_close(logits(merged), output, rtol=1e-4, atol=1e-4)  # float32, two layers


def test_unload_gives_the_base_model_back():
    assert torch.equal(logits(trained().unload()), logits(tiny_llama(0)))


def test_merge_and_unmerge_of_the_model():
    model = trained()
    output = logits(model)
    model.merge_adapter()
    torch.testing.assert_close(logits(model), output, rtol=1e-4, atol=1e-4)
    model.unmerge_adapter()
    torch.testing.assert_close(logits(model), output, rtol=1e-4, atol=1e-4)


def test_conv1d_and_its_round_trip(tmp_path):
    model = trained(tiny_gpt2(0), target_modules=GPT2_TARGETS)
    loaded = peft.PeftModel.from_pretrained(tiny_gpt2(0), saved(model, tmp_path))
    assert torch.equal(logits(loaded), logits(model))
    output = logits(model)
    torch.testing.assert_close(logits(model.merge_and_unload()), output, rtol=1e-4, atol=1e-4)


def test_task_head_is_trained_and_kept(tmp_path):
    model = adapted(tiny_bert(0), target_modules=BERT_TARGETS, modules_to_save=["classifier"])
    train(model, {"input_ids": IDS, "labels": torch.tensor([0, 1, 1])})
    loaded = peft.PeftModel.from_pretrained(tiny_bert(0), saved(model, tmp_path))
    assert torch.equal(logits(loaded), logits(model))
    head = loaded.get_base_model().classifier
    assert not torch.equal(head.weight, tiny_bert(0).classifier.weight)


def headed(name: str, **sizes: Any) -> PreTrainedModel:
    kind = getattr(transformers, f"{name}ForSequenceClassification")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(kind.config_class(vocab_size=40, **sizes)).eval()


ENCODER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
BART = {
    **{"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2},
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24},
    **{"max_position_embeddings": 32, "eos_token_id": 2, "init_std": 0.2},
}


@pytest.mark.parametrize(
    ("name", "sizes", "targets", "head"),
    [
        ("Roberta", ENCODER, ["query", "dense"], ["classifier"]),
        ("Electra", ENCODER | {"embedding_size": 16}, ["query", "dense"], ["classifier"]),
        ("Bart", BART, ["q_proj", "fc1"], ["classification_head"]),
        (
            "DistilBert",
            {"dim": 16, "hidden_dim": 24, "n_layers": 1, "n_heads": 2, "initializer_range": 0.2},
            ["q_lin"],
            ["pre_classifier", "classifier"],
        ),
        ("Bert", ENCODER, ["query"], ["classifier"]),
    ],
)
def test_heads_of_several_layers_are_merged_and_unloaded(name, sizes, targets, head, tmp_path):
    model = adapted(headed(name, **sizes), target_modules=targets, modules_to_save=head)
    ids = IDS.clone().masked_fill(IDS == 2, 3)
    ids[:, -1] = 2  # BART reads its answer at the last token of this kind
    train(model, {"input_ids": ids, "labels": torch.tensor([0, 1, 1])})
    with torch.no_grad():
        output = model.eval()(input_ids=ids).logits
        loaded = peft.PeftModel.from_pretrained(headed(name, **sizes), saved(model, tmp_path))
        assert torch.equal(loaded(input_ids=ids).logits, output)
        unloaded = loaded.unload()(input_ids=ids).logits
        merged = model.merge_and_unload(safe_merge=True)
        # float32, one layer
        torch.testing.assert_close(merged(input_ids=ids).logits, output, rtol=1e-4, atol=1e-4)
    assert merged.state_dict().keys() == headed(name, **sizes).state_dict().keys()
    assert not torch.allclose(unloaded, output)


def test_merging_a_tied_weight_is_refused_and_changes_nothing():
    model = trained(target_modules=["lm_head", "q_proj"])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(UserError, match="lm_head: its weight is tied to another layer's"):
            merge()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.unload()
    other = trained()  # the embedding is tied, and none of the adapted weights
    other.merge_and_unload()


def test_an_empty_adapter_neither_trains_nor_is_saved(tmp_path):
    model = adapted(init_weights="empty")
    with pytest.raises(UserError, match="adapter 'default' is empty and can learn nothing"):
        model.train()(input_ids=IDS, labels=IDS)
    with pytest.raises(UserError, match="adapter 'default' is empty"):
        model.save_pretrained(tmp_path)
    assert torch.equal(logits(model.eval()), logits(tiny_llama(0)))
    # beside a filled one it is seen only where it is meant
    model = trained()
    model.add_adapter("other", LoraXSConfig(r=2, target_modules=["q_proj"], init_weights="empty"))
    train(model.train(), {"input_ids": IDS, "labels": IDS}, steps=1)
    with pytest.raises(UserError, match="adapter 'other' is empty"):
        model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path, selected_adapters=["default"])


def test_a_loaded_adapter_trains_on(tmp_path):
    loaded = peft.PeftModel.from_pretrained(
        tiny_llama(0), saved(trained(), tmp_path), is_trainable=True
    )
    before = logits(loaded.eval())
    train(loaded.train(), {"input_ids": IDS, "labels": IDS})
    assert not torch.allclose(logits(loaded.eval()), before, atol=1e-3)


def test_a_saved_adapter_says_how_it_is_loaded(tmp_path):
    model = trained()
    model.add_adapter("other", LoraXSConfig(r=2, target_modules=["q_proj"]))
    for _ in range(2):
        saved(model, tmp_path)
    for folder in (tmp_path, tmp_path / "other"):
        assert (folder / "README.md").read_text().count("import lorasb\nfrom peft import") == 1
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["requires"] == "import lorasb"


def test_a_compiled_model_trains_as_an_eager_one():
    gradients = []
    for wrap in (lambda model: model, lambda model: torch.compile(model, backend="aot_eager")):
        model = wrap(adapted().train())
        model(input_ids=IDS, labels=IDS).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for eager, compiled in zip(*gradients, strict=True):
        # the same operations, decomposed
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-7)


def adapted_names(**options: Any) -> set[str]:
    return {
        name.removeprefix("base_model.model.model.layers.")
        for name, module in adapted(**options).named_modules()
        if isinstance(module, LoraXSLayer)
    }


def test_targets():
    assert adapted_names(target_modules=r".*\.1\.mlp\.(up|down)_proj") == {
        "1.mlp.up_proj",
        "1.mlp.down_proj",
    }
    both = {"0.self_attn.q_proj", "1.self_attn.q_proj"}
    assert adapted_names(target_modules=["q_proj"]) == both
    assert adapted_names(target_modules=["q_proj"], layers_to_transform=[1]) == both - {
        "0.self_attn.q_proj"
    }
    found = adapted_names(target_modules=["q_proj"], exclude_modules=["0.self_attn.q_proj"])
    assert found == both - {"0.self_attn.q_proj"}
    # without targets: PEFT's choice for Llama
    found = adapted_names(target_modules=None)
    assert {name.rpartition(".")[2] for name in found} == {"q_proj", "v_proj"}
    for targets in (["nothing"], ["q_proj", "nothing"], "nothing"):
        with pytest.raises(UserError, match="'nothing' matches no linear layer of LlamaFor"):
            adapted(target_modules=targets)
    with pytest.raises(UserError, match=r"embed_tokens: a Embedding cannot be adapted"):
        adapted(target_modules=["embed_tokens"])
    model = tiny_llama(0)
    with pytest.raises(
        UserError, match=r"0\.self_attn\.v_proj: r is 9; the largest rank here is 8"
    ):
        adapted(model, r=9)
    assert not any(isinstance(module, LoraXSLayer) for module in model.modules())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"r": 0}, "r is 0; it should be at least 1"),
        ({"scaling": 0.0}, "scaling is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"save_dtype": "half"}, "'half' is unknown; known: 'base', 'float32'"),
        ({"init_weights": "svd"}, "'svd' is unknown"),
        ({"init_weights": "empty", "save_bases": False}, "save_bases=False needs"),
        ({"layers_pattern": "layers"}, "layers_pattern needs layers_to_transform"),
        (
            {"target_modules": "all-linear", "layers_to_transform": [0]},
            "layers_to_transform needs target_modules as a list",
        ),
    ],
)
def test_configurations_that_make_no_sense_are_refused(options, match):
    with pytest.raises(UserError, match=match):
        LoraXSConfig(**options)


def test_lists_of_names_become_sets_as_in_other_configurations_of_peft():
    config = LoraXSConfig(target_modules=["q_proj", "q_proj"], exclude_modules=["a"])
    assert (config.target_modules, config.exclude_modules) == ({"q_proj"}, {"a"})
    assert LoraXSConfig(target_modules=".*q_proj").target_modules == ".*q_proj"


def test_adapter_of_a_low_precision_model_is_float32(tmp_path):
    model = trained(tiny_llama(0).bfloat16())
    assert {p.dtype for n, p in model.state_dict().items() if "lora_xs" in n} == {torch.float32}
    loaded = peft.PeftModel.from_pretrained(
        tiny_llama(0).bfloat16(), saved(model, tmp_path), low_cpu_mem_usage=True
    )
    assert {p.dtype for n, p in loaded.state_dict().items() if "lora_xs" in n} == {torch.float32}
    assert torch.equal(logits(loaded), logits(model))


def test_training_with_gradient_checkpointing_gives_the_same_gradient():
    gradients = []
    for checkpointing in (False, True):
        model = adapted().train()
        if checkpointing:
            model.enable_input_require_grads()
            model.get_base_model().gradient_checkpointing_enable()
        model(input_ids=IDS, labels=IDS).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, checkpointed in zip(*gradients, strict=True):
        # the same operations, computed twice
        torch.testing.assert_close(plain, checkpointed, rtol=1e-5, atol=1e-7)


def digest() -> str:
    """Hash of every tensor of a fresh adapter."""
    tensors = sorted(adapted().state_dict().items())
    return hashlib.sha256(b"".join(v.numpy().tobytes() for _, v in tensors)).hexdigest()


def test_two_processes_make_the_same_adapter():
    code = (
        "import torch; torch.set_num_threads(1); torch.manual_seed(5); "
        "from tests.unit.tuner.test_model import digest; print(digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest()
