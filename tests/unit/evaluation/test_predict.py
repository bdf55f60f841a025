from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from datasets import Dataset
from transformers import GenerationConfig, PreTrainedModel

from lorasb.errors import UserError
from lorasb.evaluation.predict import predict
from tests.unit.text import (
    generation_task,
    labelled_task,
    regression_task,
    sets_task,
    word_tokenizer,
)
from tests.unit.tiny import sequences, tiny_bert, tiny_llama, train

NEW_TOKENS = 6
LENGTHS = [3, 9, 1, 6, 9, 2, 12]


def prompts() -> Dataset:
    ids = [sequence.tolist() for sequence in sequences(1, LENGTHS)]
    return Dataset.from_list(
        [
            {"item": 10 + index, "input_ids": row, "answer": f"gold {index}"}
            for index, row in enumerate(ids)
        ]
    )


def sentences(labels: list[Any]) -> Dataset:
    ids = [sequence.tolist() for sequence in sequences(2, LENGTHS)]
    rows = zip(ids, labels, strict=True)
    return Dataset.from_list(
        [
            {"item": index, "input_ids": row, "labels": label}
            for index, (row, label) in enumerate(rows)
        ]
    )


def greedy(model: PreTrainedModel, ids: list[int], stop: int | None) -> list[int]:
    """The definition: no padding, no cache, one full forward pass a token."""
    answer: list[int] = []
    with torch.no_grad():
        while len(answer) < NEW_TOKENS and (not answer or answer[-1] != stop):
            logits = model(input_ids=torch.tensor([ids + answer])).logits
            answer.append(int(logits[0, -1].argmax()))
    return answer


def generate(model: torch.nn.Module, batch_size: int, **changes: Any) -> list[dict[str, Any]]:
    task = generation_task(max_new_tokens=NEW_TOKENS)
    arguments = {"tokenizer": word_tokenizer(), "progress": False} | changes
    return predict(model, task=task, dataset=prompts(), batch_size=batch_size, **arguments)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_a_ragged_batch_gives_the_answers_of_single_full_passes(batch_size):
    model, tokenizer = tiny_llama(0), word_tokenizer()
    found = generate(model, batch_size)
    expected = [
        tokenizer.decode(greedy(model, row["input_ids"], 1), skip_special_tokens=True)
        for row in prompts().to_list()
    ]
    assert [row["prediction"] for row in found] == expected
    assert len(set(expected)) > 4  # the prompts matter


def test_rows_come_back_in_their_order_with_their_gold_answers():
    found = generate(tiny_llama(0), 2)
    assert [row["item"] for row in found] == [10 + index for index in range(len(LENGTHS))]
    assert [row["label"] for row in found] == [f"gold {index}" for index in range(len(LENGTHS))]


def test_an_answer_stops_at_the_end_of_text_token():
    model, tokenizer = tiny_llama(0), word_tokenizer()
    first = prompts()[0]["input_ids"]
    answer = greedy(model, first, None)
    stop = next(token for token in answer[1:] if token != answer[0])
    tokenizer.add_special_tokens({"eos_token": tokenizer.convert_ids_to_tokens(stop)})
    found = generate(model, 3, tokenizer=tokenizer)
    expected = answer[: answer.index(stop)]
    assert found[0]["prediction"] == tokenizer.decode(expected)
    assert len(expected) < NEW_TOKENS - 1


def test_an_answer_ends_before_the_first_stop_text():
    whole = [row["prediction"] for row in generate(tiny_llama(0), 3)]
    words = whole[0].split()
    task = generation_task(max_new_tokens=NEW_TOKENS, stop=[words[-1], words[2], "never"])
    found = predict(tiny_llama(0), word_tokenizer(), task, prompts(), batch_size=3, progress=False)
    cut = min(whole[0].index(word) for word in (words[-1], words[2]))
    assert found[0]["prediction"] == whole[0][:cut].strip()
    assert len(found[0]["prediction"]) < len(whole[0])


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_each_evaluation_set_has_its_own_length(batch_size):
    names = ["long", "short", "long", "short", "short", "long", "long"]
    rows = [row | {"set": name} for row, name in zip(prompts().to_list(), names, strict=True)]
    found = predict(
        tiny_llama(0),
        word_tokenizer(),
        sets_task(max_new_tokens=NEW_TOKENS),
        Dataset.from_list(rows),
        batch_size=batch_size,
        progress=False,
    )
    whole = [row["prediction"] for row in generate(tiny_llama(0), 1)]
    for name, row, text in zip(names, found, whole, strict=True):
        words = text.split()
        assert row["prediction"].split() == (words[:2] if name == "short" else words)
    assert [row["item"] for row in found] == [10 + index for index in range(len(LENGTHS))]


def test_padding_with_the_end_of_text_token_changes_no_answer():
    """As with Llama's tokenizer: there a mask cannot be guessed from the ids."""
    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    assert generate(tiny_llama(0), 7, tokenizer=tokenizer) == generate(tiny_llama(0), 1)


def test_a_models_own_sampling_is_not_used():
    model = tiny_llama(0)
    expected = generate(model, 3)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=9.0, top_p=0.5, repetition_penalty=5.0, num_beams=2
    )
    assert generate(model, 3) == expected


def sampled(seed: int, batch_size: int = 3, **sampling: Any) -> list[str]:
    """Answers of a model whose own generation config says something else."""
    model = tiny_llama(0)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.01, top_p=0.5, top_k=3)
    values = {"temperature": 1.0, "top_p": 1.0, "top_k": 0} | sampling
    task = generation_task(max_new_tokens=NEW_TOKENS, sampling=values)
    found = predict(
        model,
        word_tokenizer(),
        task,
        prompts(),
        batch_size=batch_size,
        generator=torch.Generator().manual_seed(seed),
        progress=False,
    )
    return [row["prediction"] for row in found]


def test_sampled_answers_depend_on_the_generator_alone():
    state = torch.random.get_rng_state()
    first = sampled(1)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(99)
    assert sampled(1) == first
    assert sampled(2) != first


@pytest.mark.parametrize("sampling", [{"top_k": 1}, {"temperature": 1e-4}, {"top_p": 1e-4}])
def test_each_sampling_value_leads_to_greedy_at_its_end(sampling):
    whole = [row["prediction"] for row in generate(tiny_llama(0), 3)]
    assert sampled(1, **sampling) == whole
    assert sampled(1) != whole


def test_top_k_draws_from_the_likeliest_tokens():
    """Each token is one of the two likeliest, and not always the likeliest."""
    model, tokenizer = tiny_llama(0), word_tokenizer()
    ranks = []
    for row, text in zip(prompts().to_list(), sampled(1, top_k=2), strict=True):
        ids, words = list(row["input_ids"]), text.split()
        if len(words) < NEW_TOKENS:  # the text lacks special tokens, which are context too
            continue
        for token in tokenizer.convert_tokens_to_ids(words):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            ranks.append((logits > logits[token]).sum().item())
            ids.append(token)
    assert len(ranks) >= 3 * NEW_TOKENS
    assert set(ranks) == {0, 1}


def test_evaluation_sets_sample_as_their_task_does():
    rows = [row | {"set": "long"} for row in prompts().to_list()]
    task = sets_task(
        max_new_tokens=NEW_TOKENS, sampling={"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    )
    random = torch.Generator().manual_seed(1)
    found = predict(
        tiny_llama(0),
        word_tokenizer(),
        task,
        Dataset.from_list(rows),
        batch_size=3,
        generator=random,
        progress=False,
    )
    assert [row["prediction"] for row in found] == sampled(1)


def test_a_trained_adapter_answers_for_itself():
    base = generate(tiny_llama(0), 3)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(tiny_llama(0), settings)
    ids = torch.stack(sequences(3, [8, 8]))
    train(model, {"input_ids": ids, "labels": ids}, steps=10)
    adapted = generate(model, 3)
    assert adapted != base
    assert adapted == generate(model.merge_and_unload(), 3)


def test_classes_are_those_of_single_passes():
    model = tiny_bert(0, num_labels=3)
    task = labelled_task(num_labels=3)
    rows = sentences([0, 1, 2, 0, 1, 2, 0])
    found = predict(model, word_tokenizer(), task, rows, batch_size=3, progress=False)
    with torch.no_grad():
        single = [model(torch.tensor([row["input_ids"]])).logits for row in rows.to_list()]
    assert [row["prediction"] for row in found] == [int(logits.argmax()) for logits in single]
    assert [row["label"] for row in found] == [0, 1, 2, 0, 1, 2, 0]
    assert all(type(row["prediction"]) is int and type(row["label"]) is int for row in found)


def test_numbers_are_those_of_single_passes():
    model = tiny_bert(0, num_labels=1)
    rows = sentences([0.5, 1.5, 2.5, 3.5, 4.5, 0.0, 5.0])
    found = predict(model, word_tokenizer(), regression_task(), rows, batch_size=3, progress=False)
    with torch.no_grad():
        single = [model(torch.tensor([row["input_ids"]])).logits for row in rows.to_list()]
    # float32 sums in another order, of terms of size 1
    expected = pytest.approx([logits.item() for logits in single], abs=1e-5)
    assert [row["prediction"] for row in found] == expected
    assert len({round(row["prediction"], 3) for row in found}) == len(LENGTHS)
    assert [row["label"] for row in found] == [0.5, 1.5, 2.5, 3.5, 4.5, 0.0, 5.0]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was_and_dropout_is_off(training):
    model = tiny_bert(0, dropout=0.5).train(training)
    rows = sentences([0] * len(LENGTHS))
    results = [
        predict(model, word_tokenizer(), regression_task(), rows, batch_size=4, progress=False)
        for _ in range(2)
    ]
    assert results[0] == results[1]
    assert model.training is training


def test_the_mode_is_restored_after_an_error_too():
    model = tiny_bert(0).train()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    rows = sentences([0] * len(LENGTHS))
    with pytest.raises(UserError, match="the model's output is not finite"):
        predict(model, word_tokenizer(), labelled_task(), rows, batch_size=4, progress=False)
    assert model.training


def test_no_gradient_is_kept():
    model = tiny_bert(0)
    seen: list[bool] = []
    model.classifier.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    rows = sentences([0] * len(LENGTHS))
    predict(model, word_tokenizer(), labelled_task(), rows, batch_size=4, progress=False)
    assert seen == [False, False]


def test_progress_is_shown_on_standard_error(capsys):
    generate(tiny_llama(0), 3, progress=True)
    captured = capsys.readouterr()
    assert "7/7" in captured.err
    assert captured.out == ""
    generate(tiny_llama(0), 3, progress=False)
    assert capsys.readouterr().err == ""
