"""Rule `score`."""

from __future__ import annotations

from lorasb.evaluation.score import score_cells
from lorasb.study.paths import DATA, SCORES
from lorasb.study.study import Study


def score(study: str, model: str, task: str, split: str, *, available: bool = False) -> None:
    """Metrics and per-item scores of all cells of one task and split.

    With `available`, cells without predictions are left out.
    """
    found = Study.load(study)
    cells = found.cells_of(model, task, split)
    chosen = [(cell.columns, cell.folder / "predictions.jsonl") for cell in cells]
    if available:
        chosen = [(columns, path) for columns, path in chosen if path.exists()]
    folder = found.folder(SCORES, model, task)
    score_cells(
        found.tasks[task],
        chosen,
        split_path=found.folder(DATA, model, task) / f"{split}.parquet",
        metrics_path=folder / f"{split}.metrics.csv",
        items_path=folder / f"{split}.items.parquet",
    )
