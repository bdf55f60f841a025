"""Synthetic tidy tables of a study, with plausible numbers and every awkward case in some place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

# variant, rank, trainable, stored, mean score, spread over seeds
METHODS = [
    ("base", 0, 0, 0, 0.12, 0.0),
    ("full", 0, 690_000, 690_000, 0.92, 0.010),
    ("lora", 8, 56_000, 56_000, 0.88, 0.012),
    ("lora-xs", 4, 448, 448, 0.55, 0.030),
    ("lora-xs", 16, 7_168, 7_168, 0.78, 0.020),
    ("lora-sb", 4, 448, 29_000, 0.63, 0.025),
    ("lora-sb", 16, 7_168, 120_000, 0.84, 0.015),
]
TASKS = [
    ("arithmetic", "accuracy_flexible"),
    ("world", "accuracy_flexible"),
    ("sentences", "accuracy"),
    ("cola", "matthews"),
    ("stsb", "pearson"),
    ("mrpc", "f1"),
]
MODEL = "quickstart-llama"
ITEMS = 60
STEPS = 100


@dataclass(frozen=True)
class Tables:
    """The tidy tables, by the names of their files."""

    runs: pd.DataFrame
    items: pd.DataFrame
    losses: pd.DataFrame
    directions: pd.DataFrame
    gradients: pd.DataFrame
    exact: pd.DataFrame
    sweep: pd.DataFrame
    selected: pd.DataFrame


def make_tables(tasks: int = 3, seeds: int = 3, methods: list[tuple] | None = None) -> Tables:
    """All tables of a study with the first `tasks` tasks, `seeds` seeds and the given methods."""
    rng = np.random.default_rng(0)
    chosen, methods = TASKS[:tasks], METHODS if methods is None else methods
    cells = [
        {"model": MODEL, "task": task, "variant": variant, "rank": rank, "lr": _rate(variant)}
        | {"seed": seed, "metric": metric, "score": mean + rng.normal(0, spread)}
        | {"trainable_parameters": trainable, "stored_parameters": stored}
        for task, metric in chosen
        for variant, rank, trainable, stored, mean, spread in methods
        for seed in range(1 if variant == "base" else seeds)
    ]
    runs = _runs(pd.DataFrame(cells), rng)
    trained = runs[runs["trainable_parameters"] > 0]
    return Tables(
        runs=runs,
        items=_items(runs, rng),
        losses=_losses(trained, rng),
        directions=_directions(trained[trained["rank"] > 0], rng),
        gradients=_gradients(trained, np.random.default_rng(1)),
        exact=_exact(),
        sweep=(sweep := _sweep(trained[trained["seed"] == 0], rng)),
        selected=_selected(sweep),
    )


@pytest.fixture(scope="session")
def tables() -> Tables:
    return make_tables()


def _rate(variant: str) -> str:
    return {"base": "0", "full": "1e-3", "lora": "5e-3"}.get(variant, "1e-2")


def _runs(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    trains = cells["trainable_parameters"] > 0
    size = len(cells)
    return cells.assign(
        study="quickstart",
        method=cells["variant"].str.replace("-", "_"),
        status="ok",
        reason="",
        items=ITEMS,
        task_head_parameters=np.where(cells["task"] == "sentences", 512, 0),
        stored_bytes=4 * cells["stored_parameters"],
        served_parameters=0,
        optimizer_state_bytes=8 * cells["trainable_parameters"],
        gradient_seconds=np.where(cells["variant"] == "lora-sb", 0.8, 0.0),
        factorize_seconds=np.where(cells["variant"].isin(["lora-sb", "lora-xs"]), 0.2, 0.0),
        train_seconds=np.where(trains, rng.uniform(4, 6, size), 0.0),
        predict_seconds=rng.uniform(1, 2, size),
        peak_memory_bytes=rng.uniform(4e8, 5e8, size).round(),
        tokens_per_second=np.where(trains, rng.uniform(3e4, 4e4, size), np.nan),
    )


def _items(runs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    parts = []
    for (task, metric), cells in runs.groupby(["task", "metric"], sort=False):
        label = rng.uniform(0, 5, ITEMS) if metric == "pearson" else rng.integers(0, 2, ITEMS)
        for cell in cells.itertuples():
            right = rng.random(ITEMS) < cell.score
            if metric == "pearson":
                prediction = np.where(right, label, rng.uniform(0, 5, ITEMS))
                correct = np.full(ITEMS, np.nan)
            else:
                prediction, correct = np.where(right, label, 1 - label), right.astype(float)
            part = {"model": MODEL, "task": task, "variant": cell.variant, "rank": cell.rank}
            part |= {"lr": cell.lr, "seed": cell.seed, "item": np.arange(ITEMS), "metric": metric}
            part |= {"prediction": prediction.astype(float), "label": label.astype(float)}
            parts.append(pd.DataFrame(part | {"correct": correct}))
    table = pd.concat(parts, ignore_index=True)
    # a generated answer is text; its table has no number
    generated = table["metric"] == "accuracy_flexible"
    table.loc[generated, ["prediction", "label"]] = np.nan
    return table


def _losses(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    step = np.arange(1, STEPS + 1)
    parts = []
    for cell in cells.itertuples():
        floor = 1.1 - cell.score
        loss = floor + 2.5 * np.exp(-step / 20) + rng.normal(0, 0.08, STEPS)
        point = {name: getattr(cell, name) for name in ("model", "task", "variant", "rank", "seed")}
        parts.append(pd.DataFrame(point | {"step": step, "loss": loss.clip(0.02)}))
    return pd.concat(parts, ignore_index=True).assign(learning_rate=1e-3, grad_norm=1.0)


def _directions(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    modules = [f"model.layers.{i}.{name}_proj" for i in range(2) for name in "qkvo"]
    keys = ["model", "task", "variant", "rank", "seed"]
    grid = cells[keys].merge(pd.DataFrame({"step": [1, 20, 40, 60, 80, 100]}), how="cross")
    grid = grid.merge(pd.DataFrame({"module": modules}), how="cross")
    start = grid["variant"].map({"lora": 0.2, "lora-xs": 0.1, "lora-sb": 0.6}).fillna(0.3)
    noise = rng.normal(0, 0.03, len(grid))
    random = 0.03 * np.sqrt(grid["rank"])
    return grid.assign(
        cosine=start - 0.001 * grid["step"] + 0.01 * grid["rank"] + noise,
        random=random,
        random_low=0.8 * random,
        random_high=1.2 * random,
        best_rank=0.95 - 0.02 * (16 - grid["rank"]) - 0.001 * grid["step"],
        update_norm=1.0,
        full_norm=2.0,
    )


def _gradients(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Full fine-tuning has no rank, LoRA no fixed subspace, the last step no next one."""
    names = ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj")
    modules = [f"model.layers.{i}.{name}" for i in range(3) for name in names]
    keys = ["model", "task", "variant", "rank", "seed"]
    steps = pd.DataFrame({"step": [0, 1, 20, 100]})
    grid = (
        cells[keys].merge(steps, how="cross").merge(pd.DataFrame({"module": modules}), how="cross")
    )
    fixed = grid["variant"].isin(["lora-xs", "lora-sb"])
    ranked = grid["rank"] > 0
    start = grid["variant"].map({"full": 1.0, "lora": 0.3, "lora-xs": 0.1}).fillna(0.5)
    cosine = start - 0.001 * grid["step"] * ranked + ranked * rng.normal(0, 0.01, len(grid))
    random = (0.03 * np.sqrt(grid["rank"])).where(ranked)
    depth = grid["module"].str.extract(r"layers\.(\d)")[0].astype(int)
    return grid.assign(
        loss=2.0 - 0.01 * grid["step"],
        gradient_norm=1.0,
        gradient_effective_rank=10.0 + depth,
        equivalent_cosine=cosine + 0.01 * depth * ranked,
        optimum_cosine=(0.9 + 0.004 * grid["rank"]).where(ranked),
        subspace_cosine=(cosine + 0.01 * depth).where(fixed),
        subspace_share=((cosine + 0.01 * depth) ** 2).where(fixed),
        random_cosine=random,
        random_low=0.8 * random,
        random_high=1.2 * random,
        left_overlap=1 / (1 + 0.01 * grid["step"]),
        left_angle=0.8 * grid["step"],
        right_overlap=1 / (1 + 0.005 * grid["step"]),
        right_angle=0.7 * grid["step"],
        adam_cosine=0.8 * cosine,
        adam_optimum=(0.7 + 0.004 * grid["rank"]).where(ranked),
    )


def _exact() -> pd.DataFrame:
    rows = [
        ("Theorem 3", "It is the best step.", "difference", 1e-16, -np.inf, 1e-10, True),
        ("Abstract", "There are fewer.", "ratio", 39.0, 27.0, np.inf, True),
        ("Theorem 5", "s does not matter.", "difference, AdamW", 1.8, -np.inf, 1e-10, False),
        ("Initialisation", "It has the size.", "ratio", 0.1, 0.5, 2.0, False),
    ]
    columns = ["source", "claim", "test", "value", "low", "high", "holds"]
    return pd.DataFrame(rows, columns=columns)


def _sweep(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    rates = ["1e-3", "2e-3", "5e-3", "1e-2", "2e-2"]
    parts = []
    for cell in cells.itertuples():
        best = {"full": 0, "lora": 2}.get(cell.variant, 3)
        point = {
            name: getattr(cell, name) for name in ("model", "task", "variant", "rank", "metric")
        }
        scores = [cell.score - 0.05 * (place - best) ** 2 for place in range(len(rates))]
        parts.append(pd.DataFrame(point | {"lr": rates, "seed": 100, "score": scores}))
    table = pd.concat(parts, ignore_index=True).assign(status="ok")
    table["score"] = (table["score"] + rng.normal(0, 0.005, len(table))).clip(0.02)
    diverged = (table["variant"] == "full") & (table["lr"] == "2e-2")
    table.loc[diverged, "status"] = "failed"
    table.loc[diverged, "score"] = np.nan
    return table


def _selected(sweep: pd.DataFrame) -> pd.DataFrame:
    keys = ["model", "task", "variant", "rank"]
    best = sweep.loc[sweep.groupby(keys, sort=False)["score"].idxmax()]
    edge = best["lr"].map({"1e-3": "low", "2e-2": "high"}).fillna("none")
    return best[[*keys, "lr", "score"]].assign(seeds=1, edge=edge).reset_index(drop=True)
