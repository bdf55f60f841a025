"""The plain LoRA checkpoint: the same model for whoever has never heard of this package."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lorasb.errors import UserError
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from lorasb.tuner.export import export_lora
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


def trained(model: PreTrainedModel, targets: list[str] | str, **options: Any) -> peft.PeftModel:
    config = LoraXSConfig(**{"r": 4, "target_modules": targets, "scaling": 0.5} | options)
    adapted = peft.get_peft_model(model, config)
    labels = torch.tensor([0, 1, 1]) if "modules_to_save" in options else IDS
    train(adapted, {"input_ids": IDS, "labels": labels})
    return adapted.eval()


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def assert_same_model(loaded: torch.nn.Module, model: torch.nn.Module) -> None:
    # B' A' instead of B (R A): float32 in another order, logits of size 1
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-4, atol=1e-5)


READER = """
import sys
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained("base").eval()
model = PeftModel.from_pretrained(base, "lora")
with torch.no_grad():
    output = model(**load_file("ids.safetensors")).logits
save_file({"logits": output}, "logits.safetensors")
assert not any(name.partition(".")[0] == "lorasb" for name in sys.modules)
"""


def test_a_process_without_this_package_computes_the_same(tmp_path):
    tiny_llama(0).save_pretrained(tmp_path / "base")
    model = trained(tiny_llama(0), LLAMA_TARGETS)
    export_lora(model, tmp_path / "lora")
    save_file({"input_ids": IDS}, tmp_path / "ids.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", READER], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "logits.safetensors")["logits"]
    torch.testing.assert_close(found, logits(model), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, logits(tiny_llama(0)), atol=0.1)


def test_update_is_exact_and_unscaled(tmp_path):
    model = trained(tiny_llama(0), LLAMA_TARGETS)
    export_lora(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 4)
    assert config["target_modules"] == sorted(LLAMA_TARGETS)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraXSLayer)}
    assert len(tensors) == 2 * len(layers)
    for name, layer in layers.items():
        A, B = (tensors[f"{name}.lora_{part}.weight"] for part in "AB")
        assert A.dtype == B.dtype == torch.float32
        assert torch.equal(A, layer.lora_xs_A["default"])
        s, R = 0.5, layer.lora_xs_R["default"].detach().double()
        expected = s * layer.lora_xs_B["default"].double() @ R
        torch.testing.assert_close(B.double(), expected, rtol=0, atol=1e-6)  # float32


def test_conv1d(tmp_path):
    model = trained(tiny_gpt2(0), GPT2_TARGETS)
    export_lora(model, tmp_path)
    assert_same_model(peft.PeftModel.from_pretrained(tiny_gpt2(0), tmp_path), model)


def test_task_head_is_kept(tmp_path):
    model = trained(tiny_bert(0), BERT_TARGETS, modules_to_save=["classifier"], task_type="SEQ_CLS")
    export_lora(model, tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_bert(0), tmp_path)
    assert_same_model(loaded, model)
    head = loaded.get_base_model().classifier
    assert not torch.equal(head.weight, tiny_bert(0).classifier.weight)


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (r".*\.1\.mlp\.(up|down)_proj", {}),
        (["q_proj", "up_proj"], {"layers_to_transform": [1]}),
        (["q_proj"], {"exclude_modules": ["0.self_attn.q_proj"]}),
        (["q_proj"], {"save_bases": False}),
    ],
)
def test_the_same_modules_are_adapted(targets, options, tmp_path):
    model = trained(tiny_llama(0), targets, **options)
    export_lora(model, tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path)
    assert_same_model(loaded, model)
    names = {
        name.removesuffix(".lora_A")
        for name, _ in loaded.named_modules()
        if name.endswith("lora_A")
    }
    assert names == {n for n, m in model.named_modules() if isinstance(m, LoraXSLayer)}


def test_one_of_several_adapters(tmp_path):
    model = trained(tiny_llama(0), ["q_proj"])
    expected = logits(model)
    model.add_adapter("other", LoraXSConfig(r=2, target_modules=["up_proj"]))
    export_lora(model, tmp_path)
    found = logits(peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_low_precision_models_export_float32(tmp_path):
    model = trained(tiny_llama(0).bfloat16(), LLAMA_TARGETS)
    export_lora(model, tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_same_adapter_same_bytes(tmp_path):
    for name in ("a", "b"):
        export_lora(trained(tiny_llama(0), LLAMA_TARGETS), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("where", ["around the adapter", "below it", "layer by layer"])
def test_compiled_models_export_and_save_plain_names(where, tmp_path):
    def compiled(model: torch.nn.Module) -> torch.nn.Module:
        return torch.compile(model, backend="eager")

    base = tiny_llama(0)
    if where == "layer by layer":
        base.model.layers[1] = compiled(base.model.layers[1])
    model = trained(compiled(base) if where == "below it" else base, LLAMA_TARGETS)
    if where == "around the adapter":
        model = compiled(model)
    export_lora(model, tmp_path / "lora")
    model.save_pretrained(tmp_path / "own")
    for folder in ("lora", "own"):
        names = load_file(tmp_path / folder / "adapter_model.safetensors")
        assert not [name for name in names if "_orig_mod" in name]
        loaded = peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / folder)
        assert_same_model(loaded, model)
    if where == "below it":  # and back into a compiled model
        again = peft.PeftModel.from_pretrained(compiled(tiny_llama(0)), tmp_path / "own")
        assert_same_model(again, model)


# fields of PEFT 0.12.0, the oldest that servers run
PEFT_0_12 = {
    *("peft_type", "auto_mapping", "base_model_name_or_path", "revision", "task_type"),
    *("inference_mode", "r", "target_modules", "lora_alpha", "lora_dropout", "fan_in_fan_out"),
    *("bias", "use_rslora", "modules_to_save", "init_lora_weights", "layers_to_transform"),
    *("layers_pattern", "rank_pattern", "alpha_pattern", "megatron_config", "megatron_core"),
    *("loftq_config", "use_dora", "layer_replication"),
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"r": 8},
        {"dropout": 0.1, "task_type": "CAUSAL_LM"},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"exclude_modules": ["0.self_attn.q_proj"]},
        {"exclude_modules": ".*0.*", "target_modules": "all-linear"},
    ],
)
def test_configuration_has_what_old_versions_of_peft_know(options, tmp_path):
    model = trained(
        tiny_llama(0), **{"targets": options.pop("target_modules", ["q_proj"])}, **options
    )
    export_lora(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config.keys() <= PEFT_0_12
    assert {"peft_type", "r", "lora_alpha", "target_modules"} <= config.keys()
    defaults = peft.LoraConfig().to_dict()
    same = {key for key, value in config.items() if value == defaults[key]}
    assert same <= {"peft_type", "r", "lora_alpha", "base_model_name_or_path"}
    assert_same_model(peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path), model)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_tied_output_layer_exports_its_own_update(kind, tmp_path):
    make = {"llama": tiny_llama, "gpt2": tiny_gpt2}[kind]
    model = trained(make(0), ["lm_head"])
    assert torch.equal(model.get_input_embeddings().weight, make(0).get_input_embeddings().weight)
    export_lora(model, tmp_path)
    assert_same_model(peft.PeftModel.from_pretrained(make(0), tmp_path), model)


def test_an_empty_adapter_is_not_exported(tmp_path):
    config = LoraXSConfig(r=2, target_modules=["q_proj"], init_weights="empty")
    model = peft.get_peft_model(tiny_llama(0), config)
    with pytest.raises(UserError, match="adapter 'default' is empty"):
        export_lora(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_adapters_are_refused(tmp_path: Path):
    plain = peft.get_peft_model(tiny_llama(0), peft.LoraConfig(target_modules=["q_proj"]))
    with pytest.raises(UserError, match="no lora_xs adapter 'default'"):
        export_lora(plain, tmp_path)
    with pytest.raises(UserError, match="no lora_xs adapter 'other'"):
        export_lora(trained(tiny_llama(0), ["q_proj"]), tmp_path, "other")
    assert not list(tmp_path.iterdir())


def test_an_adapter_by_transformers_own_door_is_exported(tmp_path):
    native = tiny_llama(0)
    native.add_adapter(LoraXSConfig(r=4, target_modules=LLAMA_TARGETS))
    train(native, {"input_ids": IDS, "labels": IDS})
    export_lora(native.eval(), tmp_path)
    assert_same_model(peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path), native)
    with pytest.raises(UserError, match="no lora_xs adapter"):
        export_lora(tiny_llama(0), tmp_path)


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_on_request(dtype, share, tmp_path):
    model = trained(tiny_llama(0), LLAMA_TARGETS)
    export_lora(model, tmp_path / "half", dtype=dtype)
    export_lora(model, tmp_path / "whole")
    half, whole = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("half", "whole")
    )
    for name, value in whole.items():
        assert half[name].dtype == dtype
        # the smallest float16 above zero; rounding to the nearest
        assert ((half[name].float() - value).abs() <= share * value.abs() + 6e-8).all()
    with pytest.raises(UserError, match=r"dtype torch\.int8; it should be float32"):
        export_lora(model, tmp_path, dtype=torch.int8)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Tensor, Tensor]]]:
    """The configuration, and B and A by the names of the base model's modules."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    pairs = {}
    for key in tensors:
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", key)
        A, B = (tensors[f"base_model.model.{found[1]}.lora_{part}.weight"] for part in "AB")
        pairs[found[1]] = (B, A)
    return config, pairs


@pytest.mark.parametrize(
    ("targets", "ranks"),
    [
        (LLAMA_TARGETS, {"v_proj": 2}),
        ("all-linear", {}),
        (r".*\.1\.(self_attn\.q_proj|mlp\.(up|down)_proj)", {}),
    ],
)
def test_servers_find_what_they_read(targets, ranks, tmp_path):
    """vLLM, SGLang and llama.cpp: pairs of matrices by name, one scaling, nothing else."""
    model = trained(tiny_llama(0), targets, rank_pattern=ranks)
    export_lora(model, tmp_path)
    modules = dict(tiny_llama(0).named_modules())
    config, pairs = read(tmp_path)
    # vLLM and SGLang take lora_alpha / r for all layers; llama.cpp lora_alpha / a layer's own rank
    assert config["lora_alpha"] == config["r"] == 4
    assert "rank_pattern" not in config
    for name, (B, A) in pairs.items():
        assert A.shape == (4, modules[name].in_features)
        assert B.shape == (modules[name].out_features, 4)
        update = model.get_base_model().get_submodule(name).get_delta_weight("default")
        torch.testing.assert_close(B @ A, update.detach(), rtol=1e-5, atol=1e-6)  # float32
    # SGLang refuses a regular expression and takes the ends of names, as vLLM does of tensors
    assert isinstance(config["target_modules"], list)
    ends = {name.rpartition(".")[2] for name in config["target_modules"]}
    assert ends == {name.rpartition(".")[2] for name in pairs}
    assert config["peft_type"] == "LORA"
    for key in ("use_dora", "modules_to_save", "use_rslora", "alpha_pattern"):
        assert not config.get(key)
    assert config.get("bias", "none") == "none"


@pytest.mark.parametrize(("kept", "rank"), [((2, 3), 3), ((4, 2), 4), ((0, 0), 1)])
def test_directions_that_do_nothing_are_left_out_on_request(kept, rank, tmp_path):
    model = trained(tiny_llama(0), ["q_proj"])
    layers = [module for module in model.modules() if isinstance(module, LoraXSLayer)]
    random = torch.Generator().manual_seed(0)
    for layer, number in zip(layers, kept, strict=True):
        U, _, V = torch.linalg.svd(torch.randn(4, 4, generator=random))
        layer.lora_xs_R["default"].data = U[:, :number] @ V[:number]
    export_lora(model, tmp_path / "reduced", reduce_rank=True)
    config, pairs = read(tmp_path / "reduced")
    assert config["r"] == config["lora_alpha"] == rank
    assert {(B.shape[1], len(A)) for B, A in pairs.values()} == {(rank, rank)}
    assert_same_model(peft.PeftModel.from_pretrained(tiny_llama(0), tmp_path / "reduced"), model)
    export_lora(model, tmp_path / "whole")
    assert read(tmp_path / "whole")[0]["r"] == 4


def test_a_card_says_what_it_is_and_leaves_the_one_that_is_there(tmp_path):
    model = trained(tiny_llama(0), ["q_proj"])
    model.peft_config["default"].base_model_name_or_path = "owner/base"
    export_lora(model, tmp_path / "a", dtype=torch.bfloat16)
    card = ModelCard.load(tmp_path / "a/README.md")
    assert (card.data.base_model, card.data.library_name) == ("owner/base", "peft")
    assert "rank 4 in bfloat16" in card.text
    model.peft_config["default"].base_model_name_or_path = str(tmp_path)
    (tmp_path / "b").mkdir()
    export_lora(model, tmp_path / "b")
    assert ModelCard.load(tmp_path / "b/README.md").data.base_model is None
    (tmp_path / "b/README.md").write_text("mine")
    export_lora(model, tmp_path / "b")
    assert (tmp_path / "b/README.md").read_text() == "mine"
