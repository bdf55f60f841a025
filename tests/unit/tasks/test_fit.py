from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from datasets import Dataset, Features

from lorasb.errors import UserError
from lorasb.models.limits import Limits
from lorasb.tasks.fit import check_lengths, check_rows, check_tokenizer
from lorasb.tasks.prepare import TOKENS
from lorasb.tasks.task import Task
from tests.unit.text import EOS, PAD, UNKNOWN, generation_task, labelled_task, sets_task
from tests.unit.text import word_tokenizer as words
from tests.unit.tiny import VOCABULARY

LIMITS = {"positions": 32, "embeddings": VOCABULARY, "token_types": 2, "special_ids": frozenset()}


def limits(**changes: Any) -> Limits:
    return Limits(**LIMITS | changes)  # type: ignore[arg-type]


def rows(*lengths: int, token: int = 4, **columns: list[Any]) -> Dataset:
    ids = {"input_ids": [[token] * length for length in lengths]}
    found = Dataset.from_dict(ids, features=Features({"input_ids": TOKENS}))
    for name, values in columns.items():
        found = found.add_column(name, values)
    return found


def check(task: Task, splits: Mapping[str, Dataset], **changes: Any) -> None:
    whole = {"train": rows(3), "selection": rows(3), "test": rows(3)}
    check_rows(task, whole | splits, words(), limits(**changes))


@pytest.mark.parametrize("task", [generation_task(), labelled_task(), sets_task()])
def test_rows_are_no_longer_than_the_positions(task):
    check_lengths(task, 32, limits())
    check_lengths(task, 10**9, limits(positions=None))
    for length in (33, 10**9):
        with pytest.raises(UserError, match=f"max_length is {length}, and the model has 32 pos"):
            check_lengths(task, length, limits())


def test_replies_alone_are_shorter_than_the_positions():
    check_lengths(generation_task(max_new_tokens=31), 8, limits())
    for tokens in (32, 10**6):
        with pytest.raises(UserError, match=f"generated: max_new_tokens is {tokens}, and the mod"):
            check_lengths(generation_task(max_new_tokens=tokens), 8, limits())
        with pytest.raises(UserError, match=r"task sets: max_new_tokens is"):
            check_lengths(sets_task(max_new_tokens=tokens), 8, limits())
        check_lengths(generation_task(max_new_tokens=tokens), 8, limits(positions=None))


@pytest.mark.parametrize("split", ["selection", "test"])
def test_a_prompt_and_its_reply_fit_together(split):
    task = generation_task(max_new_tokens=10)
    check(task, {split: rows(4, 22)})
    check(task, {split: rows(4, 23)}, positions=None)
    with pytest.raises(UserError, match="longest prompt has 23 tokens, max_new_tokens is 10, and"):
        check(task, {split: rows(4, 23)})
    # a training row holds its answer
    check(task, {"train": rows(32)})
    check(labelled_task(), {split: rows(32)})


def test_each_set_has_its_own_reply():
    task = sets_task(max_new_tokens=10)  # `short` has 2
    check(task, {"test": rows(30, 22, set=["short", "long"])})
    with pytest.raises(UserError, match="task sets/short: the longest prompt has 31 tokens"):
        check(task, {"test": rows(31, 22, set=["short", "long"])})
    with pytest.raises(UserError, match="task sets/long: the longest prompt has 23 tokens"):
        check(task, {"test": rows(30, 23, set=["short", "long"])})


@pytest.mark.parametrize("split", ["train", "selection", "test"])
def test_tokens_have_a_row_in_the_embedding(split):
    for embeddings in (6, VOCABULARY):
        check(labelled_task(), {split: rows(2, 3, token=5)}, embeddings=embeddings)
    with pytest.raises(UserError, match=rf"split {split}: token 5 of the tokenizer .* has no row"):
        check(labelled_task(), {split: rows(2, 3, token=5)}, embeddings=5)


def test_padding_has_a_row_in_the_embedding():
    tokenizer = words()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == VOCABULARY
    with pytest.raises(UserError, match=f"padding: token {VOCABULARY} of the tokenizer"):
        check_rows(labelled_task(), {"test": rows(3)}, tokenizer, limits())


def test_marks_of_pairs_are_known_to_the_model():
    pair = {"test": rows(3, token_type_ids=[[0, 1, 1]])}
    check(labelled_task(), pair)
    check(labelled_task(), pair, token_types=None)
    with pytest.raises(UserError, match="marks a text of a pair by 1, and the model knows 1 such"):
        check(labelled_task(), pair, token_types=1)


def test_no_selection_row_is_no_row_that_does_not_fit():
    for task in (generation_task(), labelled_task()):
        check(task, {"selection": rows()})


@pytest.mark.parametrize("embeddings", [VOCABULARY, VOCABULARY + 8, 2 * VOCABULARY])
def test_an_embedding_may_have_rows_to_spare(embeddings):
    check_tokenizer(words(), limits(embeddings=embeddings))


@pytest.mark.parametrize("embeddings", [VOCABULARY - 1, 5, 2 * VOCABULARY + 1, 50_257])
def test_a_tokenizer_of_another_size_is_refused(embeddings):
    message = rf"tokenizer has {VOCABULARY} tokens and the model's embedding {embeddings} rows; is"
    with pytest.raises(UserError, match=message):
        check_tokenizer(words(), limits(embeddings=embeddings))


def test_added_tokens_that_no_text_has_may_lie_behind_the_embedding():
    tokenizer = words()
    tokenizer.add_tokens(["<image>"])
    check_tokenizer(tokenizer, limits())
    check_rows(labelled_task(), {"test": rows(3)}, tokenizer, limits())


@pytest.mark.parametrize(
    ("special", "foreign"),
    [
        ({PAD, EOS}, None),
        ({EOS, 30}, None),  # as a chat model's end, beside the one that it was trained with
        ({30}, 30),
        ({PAD, 30, 31}, 30),
    ],
)
def test_special_tokens_are_those_of_the_model(special, foreign):
    assert {PAD, EOS, UNKNOWN} <= set(words().all_special_ids)
    own = limits(special_ids=frozenset(special))
    if foreign is None:
        check_tokenizer(words(), own)
        return
    with pytest.raises(UserError, match=f"token {foreign} is special in the model's configuration"):
        check_tokenizer(words(), own)


def test_tokens_that_were_added_as_special_are_special():
    tokenizer = words()
    tokenizer.add_tokens(["<end>"], special_tokens=True)
    assert VOCABULARY not in tokenizer.all_special_ids
    check_tokenizer(tokenizer, limits(embeddings=60, special_ids=frozenset({VOCABULARY})))
