"""A LoRA-SB adapter whose bases are made again from its samples."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lorasb import LoraXSConfig, estimate_gradients, initialize_lora_sb, load_recipe, save_recipe
from lorasb.errors import UserError
from lorasb.start.recipe import FILE
from tests.unit.tiny import LLAMA_TARGETS, sequences, tiny_llama, train

IDS = torch.stack(sequences(0, [8] * 4))
BATCHES = [{"input_ids": ids, "labels": ids} for ids in IDS.split(2)]
EMPTY = LoraXSConfig(
    r=4, target_modules=LLAMA_TARGETS, init_weights="empty", rank_pattern={"v_proj": 2}
)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def trained(model: torch.nn.Module | None = None, **options: object) -> peft.PeftModel:
    base = model or tiny_llama(0)
    gradients = estimate_gradients(
        base, BATCHES, target_modules=LLAMA_TARGETS, num_samples=4, **options
    )
    adapted = peft.get_peft_model(base, EMPTY)
    initialize_lora_sb(adapted, gradients, learning_rate=1e-2)
    train(adapted, BATCHES[0])
    return adapted.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"reduction": "batch-mean"}])
def test_it_comes_back_without_its_bases(dtype, options, tmp_path):
    model = trained(tiny_llama(0).to(dtype), **options)
    before = [type(module) for module in model.modules()]
    save_recipe(model, tmp_path, BATCHES, num_samples=4, **options)
    assert [type(module) for module in model.modules()] == before
    shapes = {tuple(value.shape) for value in load_file(tmp_path / FILE).values()}
    assert shapes == {(4, 4), (2, 4), (2, 2)}
    loaded = load_recipe(tiny_llama(0).to(dtype), tmp_path, BATCHES).eval()
    assert torch.equal(logits(loaded), logits(model))
    assert not torch.allclose(logits(model), logits(tiny_llama(0).to(dtype)), atol=0.1)
    with pytest.raises(UserError, match="has been trained or loaded"):
        initialize_lora_sb(loaded, {n: torch.ones(1) for n in layers(loaded)}, 1e-2)
    save_recipe(loaded, tmp_path / "again", BATCHES, num_samples=4, **options)
    loaded.save_pretrained(tmp_path / "whole")


def layers(model: peft.PeftModel) -> list[str]:
    return [m.name for m in model.modules() if hasattr(m, "lora_xs_R")]


@pytest.mark.parametrize(
    ("batches", "options", "match"),
    [
        (BATCHES[:1] * 2, {}, "gives other bases than those of training"),
        (BATCHES, {"num_samples": 2}, "gives other bases than those of training"),
        (BATCHES, {"num_samples": 5}, "the dataloader has only 4 samples"),
    ],
)
def test_a_recipe_that_does_not_lead_there_is_not_written(batches, options, match, tmp_path):
    with pytest.raises(UserError, match=match):
        save_recipe(trained(), tmp_path, batches, **{"num_samples": 4} | options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("other", ["samples", "batches", "model", "dtype"])
def test_what_does_not_match_is_refused(other, tmp_path):
    save_recipe(trained(), tmp_path, BATCHES, num_samples=4)
    base = tiny_llama(other == "model").to(torch.bfloat16 if other == "dtype" else torch.float32)
    batches = {"samples": BATCHES[::-1], "batches": [{"input_ids": IDS, "labels": IDS}]}
    hashed = "are not those that its bases were made from"
    with pytest.raises(UserError, match=hashed if other in batches else "gives other bases"):
        load_recipe(base, tmp_path, batches.get(other, BATCHES))
    assert not hasattr(base, "peft_config")


@pytest.mark.parametrize("damage", ["missing", "cut", "no recipe", "a layer less", "newer"])
def test_damage_is_one_line(damage, tmp_path):
    save_recipe(trained(), tmp_path, BATCHES, num_samples=4)
    file = tmp_path / FILE
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "no recipe":
        save_file(load_file(file), file)
    elif damage == "newer":
        rewrite(file, {"recipe": '{"config": {"s": 1}, "settings": {}}'})
    else:
        rewrite(file, None, "model.layers.1.mlp.down_proj/R")
    with pytest.raises(UserError, match=FILE) as caught:
        load_recipe(tiny_llama(0), tmp_path, BATCHES)
    assert "\n" not in str(caught.value)


def rewrite(file: Path, metadata: dict[str, str] | None, without: str = "") -> None:
    with safe_open(file, "pt") as opened:
        metadata = metadata or opened.metadata()
    tensors = load_file(file)
    tensors.pop(without, None)
    save_file(tensors, file, metadata)


def test_an_adapter_that_trains_more_is_refused(tmp_path):
    config = LoraXSConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
    model = peft.get_peft_model(tiny_llama(0), config)
    with pytest.raises(UserError, match="for an adapter that trains R alone"):
        save_recipe(model, tmp_path, BATCHES, num_samples=4)
    with pytest.raises(UserError, match="no lora_xs adapter 'other'"):
        save_recipe(model, tmp_path, BATCHES, "other", num_samples=4)
    with pytest.raises(UserError, match="no lora_xs adapter 'default'"):
        save_recipe(tiny_llama(0), tmp_path, BATCHES, num_samples=4)


def test_one_of_several_adapters(tmp_path):
    model = trained()
    model.add_adapter("other", LoraXSConfig(r=2, target_modules=["up_proj"]))
    model.set_adapter("other")
    save_recipe(model, tmp_path, BATCHES, num_samples=4)
    assert model.active_adapter == "other"
    model.set_adapter("default")
    loaded = load_recipe(tiny_llama(0), tmp_path, BATCHES, "mine").eval()
    assert torch.equal(logits(loaded), logits(model))
