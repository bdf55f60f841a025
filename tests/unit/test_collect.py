import pandas as pd
import pytest

from lorasb import grid
from lorasb.collect import cell_counts, data_rows, select_rates
from lorasb.errors import UserError
from lorasb.files import write_json
from lorasb.grid import Cell


def sweep(scores: dict[str, list[float | None]]) -> pd.DataFrame:
    """One variant; learning rate -> a score for each seed."""
    rows = [
        {"model": "m", "task": "t", "variant": "v", "rank": 4, "lr": lr, "seed": seed, "score": s}
        for lr, values in scores.items()
        for seed, s in enumerate(values)
    ]
    return pd.DataFrame(rows)


def chosen(scores: dict[str, list[float | None]]) -> dict[str, object]:
    (row,) = select_rates(sweep(scores)).to_dict("records")
    return row


def test_best_mean_over_seeds_wins():
    row = chosen({"1e-3": [0.9, 0.1], "1e-2": [0.6, 0.6], "1e-1": [0.2, 0.2]})
    assert row["lr"] == "1e-2"
    assert row["score"] == pytest.approx(0.6)
    assert (row["seeds"], row["edge"]) == (2, "none")


@pytest.mark.parametrize(
    ("scores", "lr", "edge"),
    [
        ({"1e-3": [0.9], "1e-2": [0.5]}, "1e-3", "low"),
        ({"5e-3": [0.1], "1e-2": [0.5], "2.5e-2": [0.6]}, "2.5e-2", "high"),
    ],
)
def test_best_at_the_border_is_marked(scores, lr, edge):
    row = chosen(scores)
    assert (row["lr"], row["edge"]) == (lr, edge)


def test_border_is_by_value_not_by_spelling():
    # as text, 1e-2 comes before 5e-3
    row = chosen({"1e-2": [0.9], "5e-3": [0.1]})
    assert row["edge"] == "high"


def test_of_equal_scores_the_lower_rate_wins():
    assert chosen({"1e-2": [0.5], "1e-3": [0.5], "5e-2": [0.5]})["lr"] == "1e-3"


def test_rate_at_which_a_cell_failed_cannot_be_chosen():
    assert chosen({"1e-3": [0.5, 0.5], "1e-2": [0.9, None]})["lr"] == "1e-3"


def test_no_usable_rate_is_an_error():
    with pytest.raises(UserError, match="every learning rate failed for m, t, v, 4"):
        select_rates(sweep({"1e-3": [None]}))


@pytest.mark.parametrize(
    ("variant", "rank", "trainable", "stored", "head"),
    [
        # 4 layers of q, k, v, o (128 x 128), gate, up and down (128 and 256); head 4 x 128
        ("lora-xs", 4, 28 * 16, 28 * 16, 512),
        ("lora-sb", 4, 28 * 16, 28 * 16 + 4 * 4 * (4 * 256 + 3 * 384), 512),
        ("lora", 8, 8 * 4 * (4 * 256 + 3 * 384), 8 * 4 * (4 * 256 + 3 * 384), 512),
        ("base", 0, 0, 0, 0),
    ],
)
def test_counts_of_a_cell(variant, rank, trainable, stored, head):
    cell = Cell("quickstart", "quickstart-llama", "sentences", variant, rank, "1e-2", 0)
    counts = cell_counts(cell)
    assert (counts.trainable, counts.stored, counts.task_head) == (trainable, stored, head)


def test_data_has_a_row_a_split_and_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [Cell("s", "m", "t", "v", 4, "1e-2", seed) for seed in range(2)]
    tokens = {"min": 2, "median": 3.5, "max": 9, "total": 40}
    part = {"source": {}, "rows": 4, "truncated": 1, "tokens": tokens}
    splits = {
        "selection": {"rows": 3},
        "train": {"rows": 10, "truncated": 0, "empty_texts": 2, "tokens": {"median": 5, "max": 7}},
        "test": {"rows": 8, "truncated": 1, "tokens": tokens, "sets": {"a": part, "b": part}},
    }
    write_json(cells[0].path(grid.DATA) / "manifest.json", {"splits": splits})
    data_rows(cells).to_csv("data.csv", index=False)
    table = pd.read_csv("data.csv", dtype=str, keep_default_na=False)
    assert list(table["split"] + table["set"]) == ["train", "selection", "test", "testa", "testb"]
    assert set(table["model"] + table["task"]) == {"mt"}
    assert list(table["rows"]) == ["10", "3", "8", "4", "4"]
    assert list(table["empty_texts"]) == ["2", "", "", "", ""]
    assert list(table["tokens_total"]) == ["", "", "40", "40", "40"]
    assert list(table["tokens_median"]) == ["5.0", "", "3.5", "3.5", "3.5"]
