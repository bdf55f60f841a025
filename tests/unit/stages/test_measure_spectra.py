"""Which gradients a task's spectra are taken of."""

from __future__ import annotations

import pandas as pd
import pytest

from lorasb.probes.spectra import COLUMNS
from lorasb.stages.measure_spectra import measure_spectra
from lorasb.start.gradients import save_gradients
from lorasb.study.compared import gradients
from lorasb.study.paths import SPECTRA, STARTS
from lorasb.study.study import Study
from tests.unit.kept import record
from tests.unit.probes.test_spectra import TOLERANCE, matrix

NAMES = {"study": "ablation-samples", "model": "quickstart-llama", "task": "world"}


def test_rule_reads_every_gradient_of_a_task_and_no_other(project):
    estimates = gradients(Study.load(NAMES["study"]), NAMES["model"], NAMES["task"])
    assert estimates == [(n, seed) for n in (1, 5, 25, 50, 100, 200, 500) for seed in (0, 1, 2)]
    for number, (samples, seed) in enumerate(estimates):
        path = project / STARTS["gradient"].format(**NAMES, samples=samples, seed=seed)
        save_gradients({"a": matrix(number), "b": matrix(99)}, path)
        record(path)
    measure_spectra(**NAMES)
    table = pd.read_csv(project / SPECTRA.format(**NAMES))
    assert list(table.columns) == COLUMNS
    assert len(table) == len(estimates) * 2 * len({1, 2, 4, 8, 9})
    twice = table[table["module"] == "b"]  # the same gradient everywhere
    assert twice["left_overlap"].to_numpy() == pytest.approx(1.0, abs=TOLERANCE)


def test_a_study_that_keeps_nothing_has_no_spectra(project):
    path = project / "config/studies/ablation-samples.yaml"
    text = path.read_text()
    assert "settings:" in text
    path.write_text(text.replace("settings:", "settings:\n  probe: {points: 0}"))
    measure_spectra(**NAMES)
    assert pd.read_csv(project / SPECTRA.format(**NAMES)).empty
