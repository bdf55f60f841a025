"""An adapter that a trainer starts by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from lorasb import LoraXSConfig, estimate_gradients, initialize_lora_sb
from lorasb.errors import UserError
from lorasb.integrations.trl import StartLoraSB
from tests.unit.tiny import LLAMA_TARGETS, sequences, tiny_llama

ROWS = [{"input_ids": row, "labels": row} for row in sequences(0, [8] * 8)]
EMPTY = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS, init_weights="empty")
MODEL = Path(__file__).resolve().parents[3] / "resources/quickstart/model"


def trainer(model: torch.nn.Module, folder: Path, **options: Any) -> Trainer:
    values = {
        **{"max_steps": 2, "learning_rate": 1e-2, "weight_decay": 0.0, "warmup_steps": 1},
        **{"lr_scheduler_type": "linear", "per_device_train_batch_size": 4, "use_cpu": True},
        **{"report_to": [], "save_strategy": "no", "disable_tqdm": True},
    }
    arguments = TrainingArguments(output_dir=str(folder), **values | options)
    return Trainer(model, arguments, train_dataset=ROWS, callbacks=[StartLoraSB(8)])


class StopAtOnce(TrainerCallback):
    """After the one step of the warm-up, whose rate is 0."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = True


def values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: v.detach().clone() for name, v in model.state_dict().items() if "lora_xs" in name}


def test_the_start_is_that_of_the_four_calls(tmp_path):
    model = peft.get_peft_model(tiny_llama(0), EMPTY)
    before = [type(module) for module in model.modules()]
    made = trainer(model, tmp_path)
    made.add_callback(StopAtOnce())
    made.train()
    assert [type(module) for module in model.modules()] == before
    by_hand = peft.get_peft_model(tiny_llama(0), EMPTY)
    batch = {name: torch.stack([row[name] for row in ROWS]) for name in ROWS[0]}
    gradients = estimate_gradients(
        tiny_llama(0), [batch], target_modules=LLAMA_TARGETS, num_samples=8
    )
    initialize_lora_sb(by_hand, gradients, 1e-2)
    started, expected = values(model), values(by_hand)
    for name in expected:
        parts = name.partition(".lora_xs_")
        if parts[2] != "R.default":
            continue
        products = [
            found[f"{parts[0]}.lora_xs_B.default"]
            @ found[name]
            @ found[f"{parts[0]}.lora_xs_A.default"]
            for found in (started, expected)
        ]
        # signs of sums in another order of rows; the step is 1e-2 for each entry
        torch.testing.assert_close(*products, atol=2e-3, rtol=0)
        assert products[0].abs().max() > 5e-3


def test_a_trained_adapter_is_left_and_what_cannot_start_is_refused(tmp_path):
    model = peft.get_peft_model(tiny_llama(0), EMPTY)
    made = trainer(model, tmp_path)
    made.train()
    bases = {name: v for name, v in values(model).items() if "_R." not in name}
    made.train()
    assert all(torch.equal(values(model)[name], v) for name, v in bases.items())
    with pytest.raises(UserError, match="no lora_xs adapter to start"):
        trainer(tiny_llama(0), tmp_path).train()


def test_sft_trainer(tmp_path):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(MODEL)
    texts = [{"text": f"{a} + {b} = {a + b} ."} for a in range(1, 5) for b in range(1, 5)]
    config = LoraXSConfig(r=4, init_weights="empty", target_modules=["q_proj"])
    made = trl.SFTTrainer(
        model=base,
        args=trl.SFTConfig(
            output_dir=str(tmp_path),
            max_steps=3,
            learning_rate=1e-2,
            weight_decay=0.0,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
        ),
        train_dataset=datasets.Dataset.from_list(texts),
        processing_class=AutoTokenizer.from_pretrained(MODEL),
        peft_config=config,
        callbacks=[StartLoraSB(16)],
    )
    made.train()
    made.save_model(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(MODEL), tmp_path / "adapter"
    )
    expected = values(made.model)
    assert all(torch.equal(value, expected[name]) for name, value in values(again).items())
    assert all(value.any() for value in expected.values())
