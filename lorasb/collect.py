"""From the files of cells to the tidy tables of a study; needs no GPU."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from lorasb import grid, resolve
from lorasb.config import read as config
from lorasb.errors import UserError
from lorasb.evaluation.score import ITEM_COLUMNS, METRIC_COLUMNS, WHOLE, score_cells
from lorasb.files import atomic, read_json, read_jsonl
from lorasb.grid import Cell
from lorasb.methods.counts import Counts, Shapes, model_shapes
from lorasb.methods.registry import variant_method
from lorasb.models.spec import ModelSpec
from lorasb.tasks.task import SPLITS, Task

FLOAT_BYTES = 4  # adapters and heads are stored in float32
# what a manifest may count of a split or evaluation set
DATA_COUNTS = [
    *("rows", "truncated", "dropped_empty_answers", "dropped_long_prompts"),
    *("empty_texts", "empty_prompts", "duplicates", "unknown_tokens"),
]


def score_task(study: str, model: str, task: str, split: str, *, available: bool) -> None:
    """Rule `score`: metrics and per-item scores of all cells of one task and split."""
    chosen = [
        (cell.columns, cell.folder / "predictions.jsonl")
        for cell in grid.scored_cells(study, split)
        if (cell.model, cell.task) == (model, task)
    ]
    if available:
        chosen = [(columns, path) for columns, path in chosen if path.exists()]
    folder = Path(grid.SCORES.format(study=study, model=model, task=task))
    score_cells(
        Task.from_config(task, config.load_task_config(task)),
        chosen,
        split_path=Path(grid.DATA.format(study=study, model=model, task=task)) / f"{split}.parquet",
        metrics_path=folder / f"{split}.metrics.csv",
        items_path=folder / f"{split}.items.parquet",
    )


def collect(study: str, *, available: bool) -> None:
    """Rule `collect`: the tidy tables of a study."""
    cells = grid.final_cells(study)
    scores = _scores(cells, "test")
    present = [cell for cell in cells if _present(cell, available=available)]
    tables = Path(grid.TABLES.format(study=study))
    _write(pd.DataFrame([run_row(cell, scores) for cell in cells]), tables / "runs.csv")
    _write(scores, tables / "scores.csv")
    _write(_losses(present), tables / "losses.csv")
    _write(data_rows(cells), tables / "data.csv")
    for pattern, name in (
        (grid.DIRECTIONS, "directions"),
        (grid.GRADIENT_PROBES, "gradients"),
        (grid.SPECTRA, "spectra"),
    ):
        _write(_joined(cells, pattern, available=available), tables / f"{name}.csv")
    items = [pd.read_parquet(folder / "test.items.parquet") for folder in _score_folders(cells)]
    with atomic(tables / "items.parquet") as partial:
        table = pd.concat(items, ignore_index=True).reindex(columns=ITEM_COLUMNS)
        table.fillna({"set": WHOLE}).to_parquet(partial, index=False)


def collect_sweep(study: str, *, available: bool) -> None:
    """Rule `select_lr`: the sweep's scores, and the learning rates they choose."""
    cells = grid.sweep_cells(study)
    scores = _scores(cells, "selection")
    if not available:
        for cell in cells:
            _present(cell, available=False)
    rows = []
    for cell in cells:
        metric, score = _primary(cell, scores)
        status = "ok" if score is not None else "failed"
        rows.append({**cell.columns, "metric": metric, "score": score, "status": status})
    tables = Path(grid.TABLES.format(study=study))
    sweep = pd.DataFrame(rows)
    _write(sweep, tables / "sweep.csv")
    selected = select_rates(sweep)
    point = ["model", "task", "variant", "rank"]
    selected["settings"] = [
        resolve.point_hash(study, *values) for values in selected[point].itertuples(index=False)
    ]
    with atomic(tables / "selected_lr.tsv") as partial:
        selected.to_csv(partial, sep="\t", index=False, float_format="%.4f")


def select_rates(sweep: pd.DataFrame) -> pd.DataFrame:
    """The learning rate with the best mean score of each model, task, variant and rank.

    A rate at which a cell failed cannot be chosen; of equal scores the lower rate wins. `edge` says
    whether the chosen rate is the lowest or highest that was tried.
    """
    rows = []
    for key, group in sweep.groupby(["model", "task", "variant", "rank"], sort=False):
        means = group.groupby("lr")["score"].agg(["mean", "size", "count"])
        means = means.loc[sorted(means.index, key=float)]
        usable = means[means["size"] == means["count"]]
        if usable.empty:
            raise UserError(f"sweep: every learning rate failed for {', '.join(map(str, key))}")
        best = str(usable["mean"].idxmax())
        edge = {means.index[0]: "low", means.index[-1]: "high"}.get(best, "none")
        names = dict(zip(("model", "task", "variant", "rank"), key, strict=True))
        found = {"lr": best, "score": usable["mean"][best], "seeds": usable["size"][best]}
        rows.append({**names, **found, "edge": edge})
    return pd.DataFrame(rows)


def run_row(cell: Cell, scores: pd.DataFrame) -> dict[str, Any]:
    """One row of `runs`: the cell, its primary score, its costs; or why it failed."""
    metric, score = _primary(cell, scores)
    variant = config.load_variant(cell.variant)
    row: dict[str, Any] = {
        "study": cell.study,
        **cell.columns,
        "method": variant["method"],
        "label": variant["label"],
        "arguments": json.dumps(variant.get("arguments", {}), sort_keys=True),
        "samples": _samples(cell),
        "status": "ok" if score is not None else "failed",
        "reason": "" if score is not None else _reason(cell),
        "metric": metric,
        "score": score,
    }
    return (
        row | _count_columns(cell_counts(cell)) | (_cost_columns(cell) if score is not None else {})
    )


def _samples(cell: Cell) -> int | None:
    """Training samples of the gradient that the cell starts from."""
    if not variant_method(cell.variant).needs & resolve.NEEDS_GRADIENT:
        return None
    return resolve.gradient_samples(cell.study, cell.model, cell.task, cell.variant)


def cell_counts(cell: Cell) -> Counts:
    """The closed-form parameter counts of a cell."""
    shapes, base_params, head = adapted_shapes(cell.model, cell.task)
    return variant_method(cell.variant).count(shapes, cell.rank, base_params).with_task_head(head)


@cache
def adapted_shapes(model: str, task: str) -> tuple[Shapes, int, int]:
    """Shapes of the adapted weights, numbers of the whole model, numbers of its task head."""
    data = config.load_task_config(task)
    spec = ModelSpec.from_config(config.load_model_config(model))
    return model_shapes(spec, data["kind"], data.get("num_labels", 1))


def data_rows(cells: list[Cell]) -> pd.DataFrame:
    """One row a model, task, split and evaluation set: rows, tokens, what was cut, dropped, empty.

    Where `set` is empty the row is of the whole split. What a manifest does not count is empty.
    """
    found = []
    for model, task, folder in dict.fromkeys((c.model, c.task, c.path(grid.DATA)) for c in cells):
        splits = read_json(folder / "manifest.json")["splits"]
        for split in SPLITS:
            names = {"model": model, "task": task, "split": split}
            parts = {WHOLE: splits[split], **splits[split].get("sets", {})}
            found += [{**names, "set": part, **_data_row(one)} for part, one in parts.items()]
    table = pd.DataFrame(found)
    whole = [*DATA_COUNTS, "tokens_total", "tokens_max"]
    return table.astype(dict.fromkeys(whole, "Int64"))


def _data_row(facts: dict[str, Any]) -> dict[str, Any]:
    tokens = facts.get("tokens", {})
    counts = {name: facts.get(name) for name in DATA_COUNTS}
    return counts | {f"tokens_{name}": tokens.get(name) for name in ("total", "median", "max")}


def _count_columns(counts: Counts) -> dict[str, Any]:
    return {
        "trainable_parameters": counts.trainable,
        "task_head_parameters": counts.task_head,
        "stored_parameters": counts.stored,
        "stored_bytes": FLOAT_BYTES * (counts.stored + counts.task_head),
        "served_parameters": counts.served,
        "optimizer_state_bytes": FLOAT_BYTES * counts.optimizer_state,
    }


def _cost_columns(cell: Cell) -> dict[str, Any]:
    timing = read_json(cell.folder / "timing.json")
    needs = variant_method(cell.variant).needs
    gradient = factors = 0.0
    if needs & resolve.NEEDS_GRADIENT:
        folder = resolve.gradient_path(cell, grid.GRADIENT)
        gradient = read_json(folder / "gradient.json")["seconds"]
    if "gradient_factors" in needs:
        folder = resolve.gradient_path(cell, grid.GRADIENT_FACTORS)
        factors = read_json(folder / "factors.json")["seconds"]
    if "weight_factors" in needs:
        factors = read_json(cell.path(grid.WEIGHT_FACTORS) / "factors.json")["seconds"]
    return {
        "gradient_seconds": gradient,
        "factorize_seconds": factors,
        "train_seconds": timing["train_seconds"],
        "predict_seconds": read_json(cell.folder / "predict_timing.json")["seconds"],
        "peak_memory_bytes": timing["peak_memory_bytes"],
        "tokens_per_second": timing["tokens_per_second"],
    }


def _primary(cell: Cell, scores: pd.DataFrame) -> tuple[str, float | None]:
    metric = config.load_task_config(cell.task)["primary"]
    # a row of one evaluation set names it
    wanted = (scores["metric"] == metric) & scores["set"].isna()
    for name, value in cell.columns.items():
        wanted &= scores[name] == value
    found = scores.loc[wanted, "value"]
    return metric, None if found.empty else float(found.iloc[0])


def _scores(cells: list[Cell], split: str) -> pd.DataFrame:
    # the learning rate is a name, not a number
    tables = [
        pd.read_csv(folder / f"{split}.metrics.csv", dtype={"lr": str, "set": str})
        for folder in _score_folders(cells)
    ]
    # tables written before there were sets lack their column
    return pd.concat(tables, ignore_index=True).reindex(columns=METRIC_COLUMNS)


def _score_folders(cells: list[Cell]) -> list[Path]:
    return list(dict.fromkeys(cell.path(grid.SCORES) for cell in cells))


def _losses(cells: list[Cell]) -> pd.DataFrame:
    keys = ("model", "task", "variant", "rank", "seed")
    return pd.DataFrame(
        [
            {name: getattr(cell, name) for name in keys} | entry
            for cell in cells
            for entry in read_jsonl(cell.folder / "train.jsonl")
        ],
        columns=[*keys, "step", "loss", "learning_rate", "grad_norm"],
    )


def _joined(cells: list[Cell], pattern: str, *, available: bool) -> pd.DataFrame:
    paths = dict.fromkeys(cell.path(pattern) for cell in cells)
    tables = [pd.read_csv(path) for path in paths if path.exists() or not available]
    return pd.concat(tables, ignore_index=True)


def _present(cell: Cell, *, available: bool) -> bool:
    path = cell.folder / "predictions.jsonl"
    if not path.exists() and not available:
        raise UserError(f"{path}: no such file; run the rule 'train' or use --available")
    return path.exists()


def _reason(cell: Cell) -> str:
    path = cell.folder / "failed.json"
    return str(read_json(path)["reason"]) if path.exists() else "not run"


def _write(table: pd.DataFrame, path: Path) -> None:
    with atomic(path) as partial:
        table.to_csv(partial, index=False)
