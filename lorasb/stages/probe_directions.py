"""Rule `probe_directions`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from lorasb.files import write_csv
from lorasb.probes import gradients, updates
from lorasb.probes.replay import replay
from lorasb.records import Inputs, write_record
from lorasb.study.cells import Cell
from lorasb.study.paths import DATA, DIRECTIONS, GRADIENT_PROBES
from lorasb.study.study import Study
from lorasb.tasks.prepare import read_split
from lorasb.training.setup import note_base, note_settings, note_start

Rows = list[dict[str, Any]]


def probe_directions(study: str, model: str, task: str, *, available: bool = False) -> None:
    """Updates and gradients of a task's cells along training.

    Cells that train nothing have neither. With `available`, cells without snapshots are left out;
    a seed without its reference then has gradients and no comparison of updates.
    """
    found = Study.load(study)
    cells = [
        cell
        for cell in found.cells_of(model, task)
        if found.variants[cell.variant].method.trains
        and ((cell.folder / "snapshots.safetensors").exists() or not available)
    ]
    inputs = Inputs()
    train = read_split(inputs.file(found.folder(DATA, model, task) / "train.parquet")).to_list()
    directions: Rows = []
    probed: Rows = []
    if found.settings(task)["probe"]["points"]:
        for cell in cells:
            note_start(inputs, found, cell)
            note_settings(inputs, found, cell)
            inputs.file(cell.folder / "snapshots.safetensors")
        note_base(inputs, found.models[model])
        for seed in sorted({cell.seed for cell in cells}):
            rows = _probe_seed(found, [cell for cell in cells if cell.seed == seed], train)
            directions += rows[0]
            probed += rows[1]
    _write(directions, updates.COLUMNS, found.folder(DIRECTIONS, model, task), inputs)
    _write(probed, gradients.COLUMNS, found.folder(GRADIENT_PROBES, model, task), inputs)


def _probe_seed(study: Study, cells: list[Cell], train: Rows) -> tuple[Rows, Rows]:
    """Rows of the two tables for the cells of one seed, of one model and task."""
    first = cells[0]
    resolved = study.resolved(first.model, first.task)
    probe = gradients.Probe(resolved, train, first.seed, study.largest_rank)
    is_reference = {cell: cell.variant == resolved.settings["probe"]["reference"] for cell in cells}
    reference: updates.Reference | None = None
    directions: Rows = []
    probed: Rows = []
    # the reference first: the others are compared with it
    ordered = sorted(cells, key=lambda cell: not is_reference[cell])
    for cell in tqdm(ordered, desc=f"probe, seed {first.seed}", file=sys.stderr, disable=None):
        own: updates.Updates = {}
        rows = gradients.GradientRows(cell, probe)
        for moment in replay(study, cell, len(train)):
            own[moment.step] = dict(moment.updates)
            rows.add(moment)
        probed += rows.finished()
        if is_reference[cell]:
            reference = updates.Reference(own, probe.random)
        if cell.rank and reference is not None:
            directions += updates.compare(cell, own, reference)
    return directions, probed


def _write(rows: Rows, columns: list[str], path: Path, inputs: Inputs) -> None:
    write_csv(path, pd.DataFrame(rows, columns=columns), float_format="%.7g")
    write_record(path.with_suffix(".record.json"), [path], inputs)
