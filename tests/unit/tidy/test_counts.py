import pytest

from lorasb.study.study import Study
from lorasb.tidy.counts import COLUMNS, count_rows

OTHERS = [("mistral-7b", "lora-sb", 96), ("mistral-7b", "lora-xs", 96), ("mistral-7b", "dora", 8)]
OTHERS += [("roberta-large", "lora", 8)]
MISTRAL = 7_241_732_096  # numbers of Mistral-7B-v0.1


@pytest.fixture(scope="module")
def table() -> dict[tuple[str, str, int], dict]:
    rows = list(count_rows(Study.load("quickstart"), OTHERS))
    assert all(list(row) == COLUMNS for row in rows)
    found = {(row["model"], row["variant"], row["rank"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_study_is_counted_on_its_model_and_on_the_others(table):
    own = {(variant, rank) for model, variant, rank in table if model == "quickstart-llama"}
    assert own == {(p.variant, p.rank) for p in Study.load("quickstart").points}
    there = {(variant, rank) for model, variant, rank in table if model == "mistral-7b"}
    # what the study does not have, DoRA, is left out
    assert there == own | {("lora-sb", 96), ("lora-xs", 96)}


def test_bytes_are_four_a_stored_number_and_those_of_the_base_in_its_own_dtype(table):
    row = table["mistral-7b", "lora-sb", 96]
    assert row["base_bytes"] == 2 * MISTRAL  # bfloat16
    assert row["stored_bytes"] == 4 * row["stored_parameters"]
    assert table["quickstart-llama", "full", 0]["base_bytes"] == 4 * 686_720


def test_bases_that_follow_from_the_weights_are_shared_and_others_are_stored(table):
    xs, sb = (table["mistral-7b", name, 96] for name in ("lora-xs", "lora-sb"))
    assert sb["shared_bytes"] == 0
    assert xs["stored_bytes"] + xs["shared_bytes"] == sb["stored_bytes"]
    assert xs["trainable_parameters"] == sb["trainable_parameters"]


def test_training_holds_weights_gradients_and_two_moments(table):
    full = table["mistral-7b", "full", 0]
    assert full["training_bytes"] == 4 * 4 * MISTRAL
    for name in ("lora-xs", "lora-sb"):
        row = table["mistral-7b", name, 96]
        adapter = row["stored_bytes"] + row["shared_bytes"]
        assert row["training_bytes"] == (
            row["base_bytes"] + adapter + 3 * 4 * row["trainable_parameters"]
        )
    head = table["roberta-large", "lora", 8]
    trained = head["trainable_parameters"] + head["task_head_parameters"]
    assert head["training_bytes"] == head["base_bytes"] + 4 * 4 * trained
    assert table["mistral-7b", "base", 0]["training_bytes"] == 0


def test_a_start_holds_the_base_model_and_one_matrix(table):
    base, largest = 2 * MISTRAL, 4096 * 14336
    assert table["mistral-7b", "lora-sb", 96]["start_bytes"] == base + 2 * largest
    xs = table["mistral-7b", "lora-xs", 96]
    factors = xs["shared_bytes"] + 4 * 96 * 7 * 32  # singular values beside the bases
    assert xs["start_bytes"] == base + 4 * 3 * largest + factors
    for name, rank in (("full", 0), ("lora", 8), ("base", 0)):
        assert table["mistral-7b", name, rank]["start_bytes"] == 0


def test_a_rank_that_a_model_has_no_room_for_is_left_out():
    rows = list(count_rows(Study.load("quickstart"), [("quickstart-llama", "lora-sb", 129)]))
    assert 129 not in {row["rank"] for row in rows}


def test_a_rank_that_is_none_of_a_matrix_may_be_larger_than_one():
    rows = list(count_rows(Study.load("peft-comparison"), []))
    assert ("vera", 457) in {(row["variant"], row["rank"]) for row in rows}
