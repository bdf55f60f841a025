"""Rule `score`."""

from __future__ import annotations

from lorasb.evaluation.score import score_cells
from lorasb.records import Inputs, write_record
from lorasb.study.paths import DATA, SCORES
from lorasb.study.study import Study
from lorasb.tidy.tables import present


def score(study: str, model: str, task: str, split: str, *, available: bool = False) -> None:
    """Metrics and per-item scores of all cells of one task and split.

    With `available`, cells without predictions are left out.
    """
    found = Study.load(study)
    inputs = Inputs()
    chosen = [
        (cell.columns, inputs.file(cell.folder / "predictions.jsonl"))
        for cell in found.cells_of(model, task, split)
        if present(cell, available=available)
    ]
    folder = found.folder(SCORES, model, task)
    files = folder / f"{split}.metrics.csv", folder / f"{split}.items.parquet"
    score_cells(
        found.tasks[task],
        chosen,
        split_path=inputs.file(found.folder(DATA, model, task) / f"{split}.parquet"),
        metrics_path=files[0],
        items_path=files[1],
    )
    write_record(folder / f"{split}.record.json", files, inputs)
