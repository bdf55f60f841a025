from __future__ import annotations

import pandas as pd
import pytest

from analysis import tidy


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.parquet"])
def test_learning_rates_stay_text(tmp_path, name):
    table = pd.DataFrame({"lr": ["1e-4", "0"], "score": [0.5, 0.25]})
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    assert list(tidy.read(path)["lr"]) == ["1e-4", "0"]
    assert list(tidy.read(path, columns=["score"])) == ["score"]


def test_an_empty_column_of_sets_is_text(tmp_path):
    pd.DataFrame({"set": [None, None]}).assign(n=1).to_csv(tmp_path / "table.csv", index=False)
    table = tidy.read(tmp_path / "table.csv")
    assert list(table.fillna({"set": ""})["set"]) == ["", ""]
    assert table["set"].dtype == "str"


def test_missing_column_is_named(tmp_path):
    pd.DataFrame({"lr": ["1e-4"]}).to_csv(tmp_path / "table.csv")
    with pytest.raises(tidy.TableError, match="no column 'score'"):
        tidy.read(tmp_path / "table.csv", columns=["score"])


def test_groups_come_in_order_of_appearance():
    table = pd.DataFrame({"task": ["b", "a", "b"], "rank": [1, 1, 1]})
    assert [key for key, _ in tidy.groups(table, ["task", "rank"])] == [("b", 1), ("a", 1)]
