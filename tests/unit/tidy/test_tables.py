"""Scores of cells, from files that may be damaged."""

from __future__ import annotations

import pandas as pd
import pytest

from lorasb.errors import UserError
from lorasb.study.paths import SCORES
from lorasb.study.study import Study
from lorasb.tidy.tables import read_scores, whole_scores


@pytest.mark.parametrize("content", ["", "model,task\nquickstart-llama,world\n", "model,ta"])
def test_damaged_or_foreign_metrics_are_named(project, content):
    cells = Study.load("quickstart").cells[:1]
    path = cells[0].path(SCORES) / "test.metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=rf"^{path}: .*; delete it and run again$"):
        read_scores(cells, "test")


def test_scores_on_whole_splits_are_found_by_cell_and_metric():
    cells = Study.load("quickstart").cells[:2]
    rows = [
        {**cell.columns, "set": part, "metric": metric, "value": value}
        for cell, value in zip(cells, (0.25, 0.5), strict=True)
        for part, metric, value in ((None, "accuracy", value), ("hard", "accuracy", 0.0))
    ]
    found = whole_scores(pd.DataFrame(rows))
    assert found == {
        (*cells[0].columns.values(), "accuracy"): 0.25,
        (*cells[1].columns.values(), "accuracy"): 0.5,
    }
