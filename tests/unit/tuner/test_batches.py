"""Batches whose rows have adapters of their own: `adapter_names`."""

from __future__ import annotations

import peft
import pytest
import torch
from torch import Tensor

from lorasb.tuner import LoraXSConfig
from tests.unit.tiny import BERT_TARGETS, LLAMA_TARGETS, sequences, tiny_bert, tiny_llama, train

IDS = torch.stack(sequences(0, [8, 8, 8, 8]))
NAMES = ["first", "__base__", "second", "first"]


@pytest.fixture
def model() -> peft.PeftModel:
    """Two adapters of other ranks on other layers, both trained."""
    config = LoraXSConfig(r=4, target_modules=LLAMA_TARGETS)
    made = peft.get_peft_model(tiny_llama(0), config, adapter_name="first")
    train(made, {"input_ids": IDS, "labels": IDS})
    made.add_adapter("second", LoraXSConfig(r=2, target_modules=LLAMA_TARGETS[:1], scaling=3.0))
    made.set_adapter("second")
    train(made, {"input_ids": IDS, "labels": IDS})
    return made.eval()


def alone(model: peft.PeftModel, name: str, ids: Tensor) -> Tensor:
    with torch.no_grad():
        if name == "__base__":
            with model.disable_adapter():
                return model(input_ids=ids).logits
        model.set_adapter(name)
        return model(input_ids=ids).logits


def expected(model: peft.PeftModel, names: list[str]) -> Tensor:
    return torch.cat([alone(model, n, IDS[i : i + 1]) for i, n in enumerate(names)])


@pytest.mark.parametrize("names", [NAMES, ["second"] * 4, ["__base__"] * 4, NAMES[::-1]])
def test_each_row_has_its_own_adapter(model, names):
    apart = expected(model, names)
    plain = alone(model, "first", IDS)
    with torch.no_grad():
        mixed = model(input_ids=IDS, adapter_names=names).logits
        assert torch.equal(model(input_ids=IDS).logits, plain)  # nothing of it is left
    # a batch of other rows sums in another order
    torch.testing.assert_close(mixed, apart, atol=1e-5, rtol=0)
    others = [name for name in ("first", "second", "__base__") if names != [name] * 4]
    assert all((mixed - alone(model, one, IDS)).abs().max() > 1e-2 for one in others)


def test_a_bfloat16_model_answers_in_bfloat16(model):
    with torch.no_grad():
        mixed = model.bfloat16()(input_ids=IDS, adapter_names=NAMES).logits
    assert mixed.dtype == torch.bfloat16


@pytest.mark.parametrize("beams", [1, 3])
def test_each_row_generates_with_its_own_adapter(model, beams):
    options = {"max_new_tokens": 5, "num_beams": beams, "do_sample": False, "pad_token_id": 0}
    found = model.generate(input_ids=IDS, adapter_names=NAMES, **options)
    for row, name in enumerate(NAMES):
        one = IDS[row : row + 1]
        if name == "__base__":
            with model.disable_adapter():
                own = model.generate(input_ids=one, **options)
        else:
            model.set_adapter(name)
            own = model.generate(input_ids=one, **options)
        length = own.shape[1]
        assert torch.equal(found[row, :length], own[0])


def test_each_row_has_its_own_head():
    targets = {"target_modules": BERT_TARGETS, "task_type": "SEQ_CLS"}
    config = LoraXSConfig(r=4, **targets)
    model = peft.get_peft_model(tiny_bert(0), config, adapter_name="first")
    model.add_adapter("second", LoraXSConfig(r=4, **targets))
    model.eval()
    with torch.no_grad():
        for head, shift in (("first", 1.0), ("second", -1.0)):
            model.base_model.model.classifier.modules_to_save[head].bias.fill_(shift)
        mixed = model(input_ids=IDS, adapter_names=["first", "second"] * 2).logits
        for name, rows in (("first", [0, 2]), ("second", [1, 3])):
            model.set_adapter(name)
            own = model(input_ids=IDS).logits
            torch.testing.assert_close(mixed[rows], own[rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["first"] * 3, r"3 adapter_names for a batch of 4 rows"),
        ([*NAMES[:3], "frist"], r"no adapter 'frist'; there are first, second, __base__"),
    ],
)
def test_names_that_do_not_fit_are_refused(model, names, message):
    with pytest.raises(ValueError, match=message):
        model(input_ids=IDS, adapter_names=names)
    with torch.no_grad():  # and no hook is left
        assert torch.equal(model(input_ids=IDS).logits, alone(model, "second", IDS))


def test_names_are_refused_in_training_and_beside_a_merged_adapter(model):
    with pytest.raises(ValueError, match=r"for inference; call model.eval\(\)"):
        model.train()(input_ids=IDS, adapter_names=NAMES)
    model.eval().merge_adapter(["first"])
    with pytest.raises(ValueError, match="adapter first is merged into the weight"):
        model(input_ids=IDS, adapter_names=NAMES)
