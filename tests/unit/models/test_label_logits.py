"""Logits at label positions alone: the same loss and gradients, less work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from lorasb.methods.full import Full
from lorasb.models.label_logits import IGNORED, at_labels
from lorasb.start.gradients import batch_loss, estimate_gradients
from lorasb.training.loop import train
from lorasb.training.run import Plan
from tests.unit.tiny import LLAMA_TARGETS, sequences, tiny_bert, tiny_gpt2, tiny_llama
from tests.unit.training.test_loop import SETTINGS

LENGTHS = [9, 12, 7]
# labels of each row: in the middle, at the end, and from its first token on
LABELLED = [range(4, 6), range(9, 12), range(2)]
# float32 sums of the same numbers in another order
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}

Batch = dict[str, Tensor]


def batch() -> Batch:
    ids = nn.utils.rnn.pad_sequence(sequences(1, LENGTHS), batch_first=True)
    labels = torch.full_like(ids, IGNORED)
    for row, places in enumerate(LABELLED):
        labels[row, list(places)] = ids[row, list(places)]
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


def tiny_gemma() -> PreTrainedModel:
    """Its logits are squashed between head and loss."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Gemma2Config(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            initializer_range=0.2,
            final_logit_softcapping=1.0,
        )
        return Gemma2ForCausalLM(config).eval()


def adapted() -> nn.Module:
    torch.manual_seed(0)
    return get_peft_model(tiny_llama(0), LoraConfig(target_modules=["q_proj"]))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: tiny_llama(0),
    "gpt2": lambda: tiny_gpt2(0),
    "gemma": tiny_gemma,
    "adapted": adapted,
    "compiled": lambda: torch.compile(tiny_llama(0), backend="eager"),
}


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_the_same_to_rounding(name):
    found = {}
    for chosen in (False, True):
        model = MODELS[name]()
        inputs = at_labels(model, batch()) if chosen else batch()
        output = model(**inputs)
        output.loss.backward()
        # tokens 3 and 4 predict the first row's labels, 8 to 10 the second's, 0 the third's
        assert output.logits.shape[1] == (6 if chosen else 12)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found[chosen] = [output.loss, *gradients]
    assert len(found[True]) == len(found[False]) > 2
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, **ROUNDING)


class OwnLoss(type(tiny_llama(0))):  # type: ignore[misc]
    def loss_function(self, logits, labels, **_):
        return logits.square().mean()


def own_loss() -> nn.Module:
    model = tiny_llama(0)
    model.__class__ = OwnLoss
    return model


def t5() -> nn.Module:
    config = T5Config(vocab_size=40, d_model=16, d_ff=24, num_layers=1, num_heads=2, d_kv=8)
    return T5ForConditionalGeneration(config)


@pytest.mark.parametrize("make", [own_loss, t5, lambda: tiny_bert(0)])
def test_a_model_without_the_choice_is_given_the_batch_as_it_was(make):
    given = batch()
    assert at_labels(make(), given) == given


def test_a_batch_without_a_label_for_each_token_is_as_it_was():
    plain = {name: value for name, value in batch().items() if name != "labels"}
    for given in (plain, plain | {"labels": torch.tensor([0, 1, 1])}):
        assert at_labels(tiny_llama(0), given) == given


@pytest.mark.parametrize("reduction", ["sample-sum", "batch-mean"])
def test_the_gradient_estimate_is_the_same_to_rounding(reduction):
    options = {"target_modules": LLAMA_TARGETS, "num_samples": 3, "reduction": reduction}
    every, chosen = (
        estimate_gradients(tiny_llama(0), [batch()], logits=logits, **options)
        for logits in ("all", "labels")
    )
    for name, gradient in every.items():
        torch.testing.assert_close(chosen[name], gradient, **ROUNDING)
    every, chosen = (
        batch_loss(tiny_llama(0), batch(), reduction, logits) for logits in ("all", "labels")
    )
    torch.testing.assert_close(chosen, every, **ROUNDING)


def test_the_estimate_asks_the_head_for_label_positions_alone_and_once():
    model, rows = tiny_llama(0), []
    model.lm_head.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[1]))
    batch_loss(model, batch(), logits="labels")
    batch_loss(model, batch())
    assert rows == [6, 12]


def test_a_run_is_the_same_to_rounding_and_its_head_computes_less(tmp_path):
    found, widths = {}, {"all": set(), "labels": set()}
    # the second row alone in a pass: a step of two passes takes the mean over its tokens
    rows = [{name: value[index] for name, value in batch().items()} for index in range(3)] * 2
    for logits in ("all", "labels"):
        model = tiny_llama(0)
        model.lm_head.register_forward_hook(
            lambda _, inputs, __, seen=widths[logits]: seen.add(inputs[0].shape[1])
        )
        settings = SETTINGS | {"logits": logits, "batch_size": 2, "gradient_accumulation": 2}
        plan = Plan(settings, 2, 1e-3, 0, [0, 2, 1, 1, 0, 1, 2, 2], [2], tmp_path / logits)
        collate = lambda chosen: {k: torch.stack([row[k] for row in chosen]) for k in chosen[0]}  # noqa: E731
        outcome = train(model, Full({}), rows, collate, plan)
        found[logits] = [row["loss"] for row in outcome.log]
    assert found["labels"] == pytest.approx(found["all"], rel=1e-5)
    assert widths["all"] == {12}
    assert max(widths["labels"]) == 5
