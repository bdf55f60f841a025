"""Scores of cells, from files that may be damaged."""

from __future__ import annotations

import pytest

from lorasb.errors import UserError
from lorasb.study.paths import SCORES
from lorasb.study.study import Study
from lorasb.tidy.tables import read_scores


@pytest.mark.parametrize("content", ["", "model,task\nquickstart-llama,world\n", "model,ta"])
def test_damaged_or_foreign_metrics_are_named(project, content):
    cells = Study.load("quickstart").cells[:1]
    path = cells[0].path(SCORES) / "test.metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=rf"^{path}: .*; delete it and run again$"):
        read_scores(cells, "test")
