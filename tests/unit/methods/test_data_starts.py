"""EVA, CorDA and PEFT's LoRA-GA: what PEFT makes of the same data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import EvaConfig, LoraConfig, LoraGAConfig, get_peft_model
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.eva import get_eva_state_dict
from peft.tuners.lora.loraga import preprocess_loraga
from torch import Tensor

from lorasb.errors import UserError
from lorasb.methods.peft.moved_start import lora_layers
from lorasb.methods.registry import make_method, make_variant
from lorasb.start.activations import estimate_activations, save_activations
from lorasb.start.gradients import estimate_gradients, save_gradients
from tests.contract.test_methods import LLAMA_TARGETS, RANK, attached, context
from tests.unit.tiny import sequences, tiny_llama

LORA = {"r": RANK, "lora_alpha": RANK, "target_modules": LLAMA_TARGETS}
# float32 decompositions of matrices of size 1
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def batches() -> list[dict[str, Tensor]]:
    """Samples of one length, so that PEFT's batches need no padding."""
    return [
        {"input_ids": row[None], "labels": row[None], "attention_mask": torch.ones_like(row[None])}
        for row in sequences(1, [20, 20, 20])
    ]


def started(variant: str, folder: Path, samples: list[dict[str, Tensor]]) -> dict[str, Any]:
    """The adapted layers of a variant that starts from these samples."""
    model, method = tiny_llama(0), make_variant(variant).method
    told = replace(context(model, LLAMA_TARGETS, folder), samples=len(samples))
    found = estimate_activations(tiny_llama(0), samples, target_modules=LLAMA_TARGETS)
    save_activations(found, told.inputs["activations"])
    gradients = estimate_gradients(
        tiny_llama(0), samples, target_modules=LLAMA_TARGETS, num_samples=len(samples)
    )
    save_gradients(gradients, told.inputs["gradient"])
    return lora_layers(method.attach(model, told))


def factors(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()


def test_eva_starts_at_the_directions_that_peft_finds(tmp_path):
    rows = torch.cat([batch["input_ids"] for batch in batches()])
    whole = [{"input_ids": rows, "attention_mask": torch.ones_like(rows)}]
    config = LoraConfig(**LORA, init_lora_weights="eva", eva_config=EvaConfig(rho=1.0))
    expected = get_eva_state_dict(tiny_llama(0), whole, config, show_progress_bar=False)
    for name, layer in started("eva", tmp_path, batches()).items():
        A, B = factors(layer)
        torch.testing.assert_close(A @ A.T, torch.eye(RANK), **CLOSE)
        # PEFT's randomised SVD meets the directions only nearly: cosines of the angles between both
        assert torch.linalg.svdvals(A @ expected[name].to(A).T).min() > 0.98
        assert not B.any()


@pytest.mark.parametrize("variant", ["corda", "corda-kpm"])
def test_corda_has_the_numbers_of_peft(tmp_path, variant):
    sample = batches()[:1]
    mode = "kpm" if variant.endswith("kpm") else "ipm"
    config = LoraConfig(
        **LORA, init_lora_weights="corda", corda_config=CordaConfig(corda_method=mode)
    )
    twin = tiny_llama(0)
    preprocess_corda(twin, config, run_model=lambda: twin(input_ids=sample[0]["input_ids"]))
    expected = lora_layers(get_peft_model(twin, config))
    for name, layer in started(variant, tmp_path, sample).items():
        for found, own in zip(factors(layer), factors(expected[name]), strict=True):
            gram = found @ found.T if found.shape[0] == RANK else found.T @ found
            other = own @ own.T if own.shape[0] == RANK else own.T @ own
            torch.testing.assert_close(gram.diag(), other.diag(), **CLOSE)
        (A, B), (own_A, own_B) = factors(layer), factors(expected[name])
        torch.testing.assert_close(B @ A, own_B @ own_A, **CLOSE)


def test_lora_ga_of_peft_is_what_peft_makes_and_not_the_papers(tmp_path):
    samples = batches()
    config = LoraConfig(
        **LORA, init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig(stable_gamma=16)
    )
    twin = tiny_llama(0)

    def step() -> None:
        for batch in samples:
            twin(**batch).loss.backward()  # PEFT takes the mean over its calls

    preprocess_loraga(twin, config, step)
    gradients = {
        name: module._peft_loraga_grad.clone()
        for name, module in twin.named_modules()
        if hasattr(module, "_peft_loraga_grad")
    }
    expected = lora_layers(get_peft_model(twin, config))
    for name, layer in started("lora-ga-peft", tmp_path, samples).items():
        (A, B), (own_A, own_B) = factors(layer), factors(expected[name])
        # up to the signs of directions
        torch.testing.assert_close((A @ own_A.T).abs().diag(), torch.ones(RANK), **CLOSE)
        torch.testing.assert_close((B.T @ own_B).abs().diag(), (B.T @ B).diag(), **CLOSE)
        values = torch.linalg.svdvals(gradients[name])[RANK : 2 * RANK]
        size = len(B) ** 0.25 / 16**0.5
        torch.testing.assert_close(torch.linalg.vector_norm(B, dim=0), size * values, **CLOSE)
        papers = factors(started("lora-ga", tmp_path, samples)[name])
        assert not torch.allclose(papers[0].abs(), A.abs(), rtol=0.05)


def test_a_rank_above_half_a_weight_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"rank 10 .*v_proj"):
        attached("lora-ga-peft", tmp_path, rank=5)


@pytest.mark.parametrize("init", ["eva", "corda", "lora_ga"])
def test_a_start_of_data_without_data_is_refused(init):
    options = {"r": "rank", "init_lora_weights": init}
    with pytest.raises(UserError, match="needs data first"):
        make_method("peft", {"config": "LoraConfig", "options": options, "counts": "lora"})
