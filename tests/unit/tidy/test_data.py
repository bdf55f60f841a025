import pandas as pd

from lorasb.files import write_json
from lorasb.study.cells import Cell
from lorasb.study.paths import DATA
from lorasb.tidy.data import data_rows


def test_data_has_a_row_a_split_and_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [Cell("s", "m", "t", "v", 4, "1e-2", seed, "test") for seed in range(2)]
    tokens = {"min": 2, "median": 3.5, "max": 9, "total": 40}
    part = {"source": {}, "rows": 4, "truncated": 1, "tokens": tokens}
    splits = {
        "selection": {"rows": 3, "sha256": "abc"},
        "train": {"rows": 10, "truncated": 0, "empty_texts": 2, "tokens": {"median": 5, "max": 7}},
        "test": {"rows": 8, "truncated": 1, "tokens": tokens, "sets": {"a": part, "b": part}},
    }
    write_json(cells[0].path(DATA) / "manifest.json", {"splits": splits})
    data_rows(cells).to_csv("data.csv", index=False)
    table = pd.read_csv("data.csv", dtype=str, keep_default_na=False)
    assert list(table["split"] + table["set"]) == ["train", "selection", "test", "testa", "testb"]
    assert set(table["model"] + table["task"]) == {"mt"}
    assert list(table["rows"]) == ["10", "3", "8", "4", "4"]
    assert list(table["sha256"]) == ["", "abc", "", "", ""]
    assert list(table["empty_texts"]) == ["2", "", "", "", ""]
    assert list(table["tokens_total"]) == ["", "", "40", "40", "40"]
    assert list(table["tokens_median"]) == ["5.0", "", "3.5", "3.5", "3.5"]
