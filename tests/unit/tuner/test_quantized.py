"""Adapters on quantised bases. Each backend is skipped where it is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    TorchAoConfig,
)

from lorasb import (
    estimate_gradients,
    export_lora,
    initialize_lora_sb,
    initialize_lora_xs,
    weight_factors,
)
from lorasb.errors import UserError
from lorasb.linalg.svd import truncated_svd
from lorasb.tuner import LoraXSConfig, LoraXSLayer
from tests.unit.tiny import LLAMA_TARGETS, sequences, train

IDS = torch.stack(sequences(0, [8, 8, 8]))


def torchao_int8() -> Any:
    pytest.importorskip("torchao", reason="pip install 'lorasb[quantised]'")
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def torchao_int4() -> Any:
    """The one of its kinds of four bits that needs no GPU."""
    pytest.importorskip("torchao", reason="pip install 'lorasb[quantised]'")
    from torchao.quantization import IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    return TorchAoConfig(IntxWeightOnlyConfig(torch.int4, PerGroup(32)))


def bitsandbytes_8() -> Any:
    pytest.importorskip("bitsandbytes", reason="pip install 'lorasb[quantised]'")
    return BitsAndBytesConfig(load_in_8bit=True)


def bitsandbytes_4() -> Any:
    pytest.importorskip("bitsandbytes", reason="pip install 'lorasb[quantised]'")
    return BitsAndBytesConfig(load_in_4bit=True)


QUANTISED = [torchao_int8, torchao_int4, bitsandbytes_8, bitsandbytes_4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model of one layer, wide enough for the blocks of four-bit weights."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    config = LlamaConfig(
        **sizes,
        vocab_size=40,
        num_attention_heads=4,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    path = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def load(folder: Path, quantization: Any = None) -> PreTrainedModel:
    return LlamaForCausalLM.from_pretrained(
        folder, quantization_config=quantization, dtype=torch.float32
    )


def layers(model: torch.nn.Module) -> dict[str, LoraXSLayer]:
    return {m.name: m for m in model.modules() if isinstance(m, LoraXSLayer)}


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits.float()


@pytest.mark.parametrize("quantization", QUANTISED)
def test_quantised_bases(quantization, folder, tmp_path):
    """Both starts, training, files, merging, and export, as on the model as it was."""
    settings = quantization()
    gradients = estimate_gradients(
        load(folder),
        [{"input_ids": IDS, "labels": IDS}],
        target_modules=LLAMA_TARGETS,
        num_samples=3,
    )
    empty = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS, init_weights="empty")
    models = [peft.get_peft_model(base, empty) for base in (load(folder), load(folder, settings))]
    for model in models:
        initialize_lora_sb(model, gradients, 1e-2)
    plain, model = models
    for name, layer in layers(model).items():
        of_plain = layers(plain)[name].matrices("default")
        for value, expected in zip(layer.matrices("default"), of_plain, strict=True):
            assert torch.equal(value, expected)

    before = logits(model)
    train(model, {"input_ids": IDS, "labels": IDS})
    after = logits(model)
    assert not torch.allclose(after, before, atol=0.1)
    model.save_pretrained(tmp_path / "own")
    loaded = peft.PeftModel.from_pretrained(load(folder, settings), tmp_path / "own")
    assert torch.equal(logits(loaded), after)
    export_lora(model, tmp_path / "lora")
    lora = peft.PeftModel.from_pretrained(load(folder, settings), tmp_path / "lora")
    # the same product in another order, on activations of which eight bits are kept
    torch.testing.assert_close(logits(lora), after, atol=0.05, rtol=0.05)

    layer = layers(model)["model.layers.0.mlp.down_proj"]
    weight = layer.get_base_weight() + layer.get_delta_weight("default")
    merged = model.merge_and_unload().model.layers[0].mlp.down_proj
    again = LoraXSLayer(merged, "down_proj", "default", peft_keywords(model))
    error = (again.get_base_weight() - weight).norm() / weight.norm()
    # of eight bits less than one in a hundred, of four about one in ten
    assert error < (0.15 if quantization in (bitsandbytes_4, torchao_int4) else 0.02)


def peft_keywords(model: PreTrainedModel) -> dict[str, Any]:
    from peft.utils.quantization_utils import get_quantization_kwargs

    return get_quantization_kwargs(model)


@pytest.mark.parametrize("quantization", QUANTISED)
def test_lora_xs_starts_at_the_weight_as_it_was(quantization, folder):
    """Read from the checkpoint's file, and put on the quantised base."""
    settings = quantization()
    shards = LlamaForCausalLM.from_pretrained(folder, device_map={"": "disk"}, dtype=torch.float32)
    factors = weight_factors(shards, rank=4, target_modules=LLAMA_TARGETS)
    empty = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS, init_weights="empty")
    model = peft.get_peft_model(load(folder, settings), empty)
    initialize_lora_xs(model, factors, generator=torch.Generator().manual_seed(0))
    plain = peft.get_peft_model(load(folder), LoraXSConfig(r=4, target_modules=LLAMA_TARGETS))
    for name, layer in layers(plain).items():
        B, _, A = layer.matrices("default")
        found = layers(model)[name].matrices("default")
        assert torch.equal(found[0], B)
        assert torch.equal(found[2], A)


@pytest.mark.parametrize("quantization", QUANTISED)
def test_bases_of_lora_xs_are_those_of_the_weight_that_computes(quantization, folder):
    settings = quantization()
    model = peft.get_peft_model(
        load(folder, settings), LoraXSConfig(r=4, target_modules=["q_proj"])
    )
    (layer,) = layers(model).values()
    factors = truncated_svd(layer.get_base_weight(), 4)
    assert torch.equal(layer.lora_xs_B["default"], factors.U)
    original = truncated_svd(load(folder).model.layers[0].self_attn.q_proj.weight, 4)
    # near those of the weight as it was: cosines of the angles between the two spaces
    assert torch.linalg.svdvals(factors.U.T @ original.U).min() > 0.95


def test_a_layer_that_is_no_linear_of_torch():
    """HQQ's own; PEFT puts another in its place when it merges."""
    hqq = pytest.importorskip("hqq.core.quantize")
    torch.manual_seed(0)
    settings = hqq.BaseQuantizeConfig(nbits=8, group_size=64)
    base = hqq.HQQLinear(nn.Linear(64, 64), settings, compute_dtype=torch.float32, device="cpu")
    model = peft.get_peft_model(nn.Sequential(base), LoraXSConfig(r=4, target_modules=["0"]))
    x = torch.randn(3, 64)
    model(x).sum().backward()
    (R,) = (p for p in model.parameters() if p.requires_grad)
    assert R.grad.any()
    R.data.normal_()
    after = model(x)
    merged = model.merge_and_unload()(x)
    assert not torch.allclose(base(x), after, atol=0.5)
    # eight bits of the sum
    torch.testing.assert_close(merged, after, atol=0.2, rtol=0.1)


def packed(kind: str) -> nn.Module:
    """A layer of GPTQ or AWQ in four bits, of weights from a seed, rounded to the nearest."""
    reason = "pip install --no-deps gptqmodel, which asks for a newer torch"
    pytest.importorskip("gptqmodel", reason=reason)
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

    torch.manual_seed(0)
    plain = nn.Linear(64, 64, bias=False, dtype=torch.bfloat16)
    sizes = {"in_features": 64, "out_features": 64, "bits": 4, "group_size": 32}
    options = {"sym": False, "desc_act": False, "register_buffers": True}
    layer = {"gptq": TorchLinear, "awq": AwqTorchLinear}[kind](**sizes, **options)
    groups = plain.weight.detach().float().reshape(64, 2, 32)
    # a step less than the codes allow, so that none is rounded out of them
    scales = ((groups.amax(2) - groups.amin(2)) / 14).bfloat16().float()
    zeros = (-groups.amin(2) / scales).round()
    layer.pack(plain, scales, zeros, torch.arange(64, dtype=torch.int32) // 32)
    layer.post_init()
    x = torch.randn(8, 64, dtype=torch.bfloat16)
    # of the four bits' steps, a share of the weights of about one in ten
    assert (layer(x) - plain(x)).norm() < 0.15 * plain(x).norm()
    return nn.Sequential(layer.eval())


@pytest.mark.parametrize("kind", ["gptq", "awq"])
def test_layers_that_cannot_be_taken_out_of_their_codes(kind, tmp_path):
    """LoRA-SB trains, is saved, loaded and exported; what needs the weight is refused."""
    empty = LoraXSConfig(r=4, target_modules=["0"], init_weights="empty")
    model = peft.get_peft_model(packed(kind), empty)
    initialize_lora_sb(model, {"0": torch.randn(64, 64)}, 1e-2)
    x = torch.randn(3, 64, dtype=torch.bfloat16).requires_grad_()
    model(x).float().square().sum().backward()
    (R,) = (p for p in model.parameters() if p.requires_grad)
    assert R.grad.any()
    assert x.grad.any()
    (layer,) = layers(model).values()
    update = x.detach().float() @ layer.get_delta_weight("default").T
    found = (model(x) - packed(kind)(x)).float()
    # bfloat16 of the sum, which is about ten times as large as the update
    torch.testing.assert_close(found, update, atol=2**-7, rtol=2**-7)
    model.save_pretrained(tmp_path / "own")
    export_lora(model, tmp_path / "lora")
    loaded = peft.PeftModel.from_pretrained(packed(kind), tmp_path / "own")
    assert torch.equal(loaded(x), model(x))
    with pytest.raises(UserError, match="its weight is needed for merging; Dequantization is not"):
        model.merge_and_unload()
    with pytest.raises(UserError, match="its weight is needed for bases of LoRA-XS"):
        peft.get_peft_model(packed(kind), LoraXSConfig(r=4, target_modules=["0"]))


def test_a_whole_checkpoint_of_gptq(folder, tmp_path, monkeypatch):
    """The gradient of the model as it was, on what transformers loads of the quantised one."""
    reason = "pip install --no-deps gptqmodel optimum, and what it says it lacks"
    gptqmodel = pytest.importorskip("gptqmodel", reason=reason)
    pytest.importorskip("optimum", reason=reason)
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", "2")  # it takes half of the cores, and needs two
    settings = gptqmodel.QuantizeConfig(bits=4, group_size=32)
    AutoTokenizer.from_pretrained("resources/quickstart/model").save_pretrained(folder)
    monkeypatch.chdir(tmp_path)  # where it writes a log
    quantiser = gptqmodel.GPTQModel.load(str(folder), settings, device="cpu")
    rows = torch.randint(40, (64, 64), generator=torch.Generator().manual_seed(0)).tolist()
    quantiser.quantize(
        [{"input_ids": row, "attention_mask": [1] * 64} for row in rows], batch_size=1
    )
    quantiser.save(str(tmp_path / "base"))
    batch = {"input_ids": IDS, "labels": IDS}
    gradients = estimate_gradients(
        load(folder), [batch], target_modules=LLAMA_TARGETS, num_samples=3
    )
    empty = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS, init_weights="empty")
    model = peft.get_peft_model(
        LlamaForCausalLM.from_pretrained(tmp_path / "base", device_map="cpu"), empty
    )
    initialize_lora_sb(model, gradients, 1e-2)
    before = logits(model)
    train(model, batch)
    assert not torch.allclose(logits(model), before, atol=0.1)
    model.save_pretrained(tmp_path / "own")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "base", device_map="cpu")
    loaded = peft.PeftModel.from_pretrained(again, tmp_path / "own")
    assert torch.equal(logits(loaded), logits(model))


def test_gradients_are_not_estimated_on_quantised_weights(folder):
    model = load(folder, torchao_int8())
    with pytest.raises(UserError, match=r"q_proj: its weight is a .*load the model without quant"):
        estimate_gradients(
            model, [{"input_ids": IDS, "labels": IDS}], target_modules=["q_proj"], num_samples=3
        )
