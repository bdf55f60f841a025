"""Rule `measure_spectra`."""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
from tqdm import tqdm

from lorasb.files import write_csv
from lorasb.probes.spectra import COLUMNS, spectra
from lorasb.records import Inputs, write_record
from lorasb.start.gradients import load_gradients
from lorasb.study.compared import gradients
from lorasb.study.paths import SPECTRA, STARTS
from lorasb.study.study import Study


def measure_spectra(study: str, model: str, task: str) -> None:
    """One row an estimated gradient, adapted weight and rank.

    None for a study that keeps nothing along training.
    """
    found = Study.load(study)
    names = {"study": study, "model": model, "task": task}
    inputs = Inputs()
    loaded = {
        (samples, seed): load_gradients(
            inputs.file(STARTS["gradient"].format(**names, samples=samples, seed=seed))
        )
        for samples, seed in gradients(found, model, task)
    }
    modules = next(iter(loaded.values()), {})
    ranks = {point.rank for point in found.points if point.rank}
    rows: list[dict[str, Any]] = []
    for module in tqdm(modules, desc="spectra", file=sys.stderr, disable=None):
        measured = spectra({key: tensors[module] for key, tensors in loaded.items()}, ranks)
        rows += [{"model": model, "task": task, "module": module} | row for row in measured]
    path = found.folder(SPECTRA, model, task)
    write_csv(path, pd.DataFrame(rows, columns=COLUMNS), float_format="%.7g")
    write_record(path.with_suffix(".record.json"), [path], inputs)
