"""The smallest study on GLUE, with real weights and real rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lorasb.study.paths import FIGURES, TABLES
from lorasb.study.study import Study
from tests.workflow.conftest import copy_project, snakemake

pytestmark = pytest.mark.slow

STUDY = "glue-minilm-smoke"
# with all 1,900 rows predictions take longer than anything else here
ALL_ROWS = "test: {from: validation, rows: null}"
FEW_ROWS = "test: {from: validation, rows: 64}"


def test_every_cell_is_scored_and_drawn(
    tmp_path: Path, hf_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(hf_home))
    root = copy_project(tmp_path / "project")
    template = root / "config/tasks/_glue.yaml"
    text = template.read_text()
    assert ALL_ROWS in text
    template.write_text(text.replace(ALL_ROWS, FEW_ROWS))
    done = snakemake(root, "--config", f"study={STUDY}")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = pd.read_csv(root / TABLES.format(study=STUDY) / "runs.csv")
    assert len(runs) == len(Study.load(STUDY).cells)
    assert set(runs["status"]) == {"ok"}
    assert (root / FIGURES.format(study=STUDY) / "score_vs_trainable.png").stat().st_size
