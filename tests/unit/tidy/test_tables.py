"""Scores of cells, from files that may be damaged."""

from __future__ import annotations

import pandas as pd
import pytest

from lorasb.errors import UserError
from lorasb.study.paths import SCORES
from lorasb.study.study import Study
from lorasb.tidy.tables import read_scores, scores_of, whole_scores


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


def test_a_sweep_by_likelihood_has_no_scores_of_replies():
    study = Study.load("smollm2-arithmetic")
    swept, final = study.sweep_cells[0], study.cells[0]
    alone = {"set": None, "metric": "answer_loss", "value": 1.5}
    scores = pd.DataFrame([cell.columns | alone for cell in (swept, final)])
    assert scores_of(study, [swept], scores)["value"].tolist() == [1.5]
    with pytest.raises(UserError, match="0 values of accuracy_flexible"):
        scores_of(study, [final], scores)
