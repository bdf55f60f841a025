"""Synthetic tidy tables of a study, with plausible numbers and every awkward case in some place."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from analysis.names import COLUMNS, Names

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
# variants of LoRA-SB with costs and spread as it has them at r = 16
ABLATIONS = [
    (variant, 16, 7_168, 120_000, mean, 0.015)
    for variant, mean in [
        *[("lora-sb-s0.25", 0.70), ("lora-sb-s4", 0.80), ("lora-sb-sgd", 0.78)],
        *[("lora-sb-sgd-s0.25", 0.79), ("lora-sb-sgd-s4", 0.77)],
        *[("lora-sb-noise0.1", 0.83), ("lora-sb-noise1", 0.75), ("lora-sb-noise10", 0.62)],
        *[("lora-sb-random", 0.60)],
        *[("lora-sb-n1", 0.72), ("lora-sb-n5", 0.78), ("lora-sb-n500", 0.85)],
    ]
]
# method, arguments, samples of the gradient
SETTINGS = {
    "lora-xs": ("lora-xs", {"scaling": 1.0}, None),
    "lora-sb": ("lora-sb", {"scaling": 1.0}, 64),
    "lora-sb-s0.25": ("lora-sb", {"scaling": 0.25}, 64),
    "lora-sb-s4": ("lora-sb", {"scaling": 4.0}, 64),
    "lora-sb-sgd": ("lora-sb", {"scaling": 1.0, "optimizer": "sgd"}, 64),
    "lora-sb-sgd-s0.25": ("lora-sb", {"scaling": 0.25, "optimizer": "sgd"}, 64),
    "lora-sb-sgd-s4": ("lora-sb", {"scaling": 4.0, "optimizer": "sgd"}, 64),
    "lora-sb-noise0.1": ("lora-sb-noise", {"scaling": 1.0, "signal": 1.0, "noise": 0.1}, 64),
    "lora-sb-noise1": ("lora-sb-noise", {"scaling": 1.0, "signal": 1.0, "noise": 1.0}, 64),
    "lora-sb-noise10": ("lora-sb-noise", {"scaling": 1.0, "signal": 1.0, "noise": 10.0}, 64),
    "lora-sb-random": ("lora-sb-noise", {"scaling": 1.0, "signal": 0.0, "noise": 1.0}, 64),
    "lora-sb-n1": ("lora-sb", {"scaling": 1.0}, 1),
    "lora-sb-n5": ("lora-sb", {"scaling": 1.0}, 5),
    "lora-sb-n500": ("lora-sb", {"scaling": 1.0}, 500),
}
# how far the last step's update is from that at s = 1
NORMS = {"lora-sb-s0.25": 0.4, "lora-sb-s4": 3.0}
# cosine of the start's subspace
NOISY = {"lora-sb-noise1": 0.4, "lora-sb-noise10": 0.16, "lora-sb-random": 0.13}
SETS = {"world": ["gsm8k", "math"]}
TASKS = [
    ("arithmetic", "accuracy_flexible"),
    ("world", "accuracy_flexible"),
    ("sentences", "accuracy"),
    ("cola", "matthews"),
    ("stsb", "pearson"),
    ("mrpc", "f1"),
]
MODEL = "quickstart-llama"
LABELS = {
    "model": {MODEL: "Quickstart Llama", "roberta-large": "RoBERTa-large"},
    "task": {
        **{"arithmetic": "Arithmetic", "world": "World", "sentences": "Sentences"},
        **{"cola": "CoLA", "stsb": "STS-B", "mrpc": "MRPC", "metamath": "MetaMath"},
        "commonsense": "Commonsense",
    },
    "set": {"gsm8k": "GSM8K", "math": "MATH"},
    "variant": {
        **{"base": "base model", "full": "full fine-tuning", "lora": "LoRA"},
        **{"lora-xs": "LoRA-XS", "lora-sb": "LoRA-SB"},
        **{"lora-sb-sgd": "LoRA-SB, SGD", "dora": "DoRA"},
    },
}
STYLES = {
    "base": ("#777777", "", ":"),
    "full": ("#000000", "s", "-"),
    "lora": ("#0072B2", "^", "--"),
    "lora-xs": ("#009E73", "D", "-."),
    "lora-sb": ("#D55E00", "o", "-"),
}
NAMES_TABLE = pd.DataFrame(
    [
        (kind, name, label, *STYLES.get(name, ("", "", "")))
        for kind, labels in LABELS.items()
        for name, label in labels.items()
    ],
    columns=COLUMNS,
)
NAMES = Names(NAMES_TABLE)
ITEMS = 60
STEPS = 100


@dataclass(frozen=True)
class Tables:
    """The tidy tables, by the names of their files."""

    runs: pd.DataFrame
    scores: pd.DataFrame
    items: pd.DataFrame
    losses: pd.DataFrame
    directions: pd.DataFrame
    gradients: pd.DataFrame
    spectra: pd.DataFrame
    data: pd.DataFrame
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
        scores=_scores(runs),
        items=_items(runs, rng),
        losses=_losses(trained, rng),
        directions=_directions(trained[trained["rank"] > 0], rng),
        gradients=_gradients(trained, np.random.default_rng(1)),
        spectra=_spectra(runs, np.random.default_rng(2)),
        data=_data(runs),
        exact=_exact(),
        sweep=(sweep := _sweep(trained[trained["seed"] == 0], rng)),
        selected=_selected(sweep),
    )


@pytest.fixture(scope="session")
def tables() -> Tables:
    return make_tables()


@pytest.fixture(scope="session")
def ablations() -> Tables:
    """A study that also has the variants of LoRA-SB."""
    return make_tables(methods=[*METHODS, *ABLATIONS])


def _rate(variant: str) -> str:
    return {"base": "0", "full": "1e-3", "lora": "5e-3"}.get(variant, "1e-2")


def _runs(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    trains = cells["trainable_parameters"] > 0
    size = len(cells)
    settings = [SETTINGS.get(variant, (variant, {}, None)) for variant in cells["variant"]]
    return cells.assign(
        study="quickstart",
        method=[method for method, _, _ in settings],
        arguments=[json.dumps(arguments, sort_keys=True) for _, arguments, _ in settings],
        samples=[samples for _, _, samples in settings],
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


def _scores(runs: pd.DataFrame) -> pd.DataFrame:
    """Of each set too, around the task's score; and a metric that is not the primary one."""
    keys = ["model", "task", "variant", "rank", "lr", "seed", "metric"]
    whole = runs[keys].assign(value=runs["score"], set=np.nan, items=ITEMS)
    parts = [whole]
    for task, names in SETS.items():
        for shift, name in zip((0.05, -0.05), names, strict=True):
            part = whole[whole["task"] == task]
            parts.append(part.assign(value=part["value"] + shift, set=name, items=ITEMS // 2))
    primary = pd.concat(parts, ignore_index=True).assign(split="test", primary=True)
    strict = primary.assign(metric="accuracy_strict", value=primary["value"] / 2, primary=False)
    return pd.concat([primary, strict], ignore_index=True)


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
            part |= {"prediction": prediction.astype(str), "label": label.astype(str)}
            parts.append(pd.DataFrame(part | {"correct": correct}))
    table = pd.concat(parts, ignore_index=True)
    generated = table["metric"] == "accuracy_flexible"
    table.loc[generated, "label"] = "option" + table["label"]
    table.loc[generated, "prediction"] = None  # a reply without an answer
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
    norm = grid["variant"].map(NORMS).fillna(1.0) * (1 + 0.1 * grid["seed"])
    return grid.assign(
        cosine=start - 0.001 * grid["step"] + 0.01 * grid["rank"] + noise,
        random=random,
        random_low=0.8 * random,
        random_high=1.2 * random,
        best_rank=0.95 - 0.02 * (16 - grid["rank"]) - 0.001 * grid["step"],
        update_norm=norm,
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
    fixed = grid["variant"].str.startswith(("lora-xs", "lora-sb"))
    ranked = grid["rank"] > 0
    start = grid["variant"].map({"full": 1.0, "lora": 0.3, "lora-xs": 0.1} | NOISY).fillna(0.5)
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


def _spectra(runs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Two weights of full rank 64 and one of 48; more samples overlap more."""
    estimates = runs.dropna(subset=["samples"])[["model", "task", "samples", "seed"]]
    ranks = {"layers.0.q_proj": [1, 4, 16, 64], "layers.0.k_proj": [1, 4, 16, 64]}
    ranks |= {"layers.0.down_proj": [1, 4, 16, 32, 48]}
    places = pd.DataFrame(
        [{"module": module, "rank": rank} for module, some in ranks.items() for rank in some]
    )
    grid = estimates.drop_duplicates().astype({"samples": int}).merge(places, how="cross")
    full = np.where(grid["module"] == "layers.0.down_proj", 48, 64)
    share = (grid["rank"] / full) ** 0.3
    overlap = 0.1 * np.log10(10 * grid["samples"]) + rng.normal(0, 0.01, len(grid))
    overlap = np.maximum(overlap, grid["rank"] / full)
    several = runs["seed"].nunique() > 1
    return grid.assign(
        gradient_share=share + 0.02 * (grid["seed"] - 1) * (1 - share),
        sign_share=(grid["rank"] / full) ** 0.6,
        left_overlap=overlap if several else np.nan,
        right_overlap=overlap + 0.02 if several else np.nan,
    )


def _data(runs: pd.DataFrame) -> pd.DataFrame:
    """Labelled tasks have texts, generation tasks prompts and answers; the test split has sets."""
    lines = []
    for model, task, metric in runs[["model", "task", "metric"]].drop_duplicates().to_numpy():
        generated = metric.startswith("accuracy_")
        for split, rows in {"train": 3_200, "selection": 300, "test": ITEMS}.items():
            for name in [np.nan, *(SETS.get(task, []) if split == "test" else [])]:
                part = rows // 2 if isinstance(name, str) else rows
                facts = {"rows": part, "truncated": part // 100, "duplicates": 2}
                facts["unknown_tokens"] = 0
                if split == "train":
                    facts["dropped_overlap"] = 5
                else:
                    facts |= {"overlap_exact": 1, "overlap_normalised": 2, "overlap_left": 0}
                if generated:
                    facts |= {"dropped_empty_answers": 1, "empty_prompts": 0}
                    facts["dropped_long_prompts"] = 3 if split == "train" else None
                else:
                    facts["empty_texts"] = 4
                facts |= {"tokens_total": 20 * part, "tokens_median": 19.5, "tokens_max": 128}
                where = {"model": model, "task": task, "split": split, "set": name}
                lines.append(where | facts)
    return pd.DataFrame(lines)


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


def with_unpredicted(items: pd.DataFrame) -> pd.DataFrame:
    """And nine items of each run that no prediction was asked for."""
    more = items[items["item"] < 9]
    nothing = {"prediction": None, "label": None, "correct": np.nan}
    return pd.concat([items, more.assign(item=more["item"] + 10_000, **nothing)])
