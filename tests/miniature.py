"""A study cut down to minutes: the same classes, columns and rules, everything else small.

Models are of the study's own architecture with tiny sizes and random weights and read bytes; rows
are written here, with the columns that the real sources have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from lorasb.bundled.byte_model import build_tokenizer
from lorasb.config import read as config

TRAINING_ROWS, SELECTION_ROWS, TEST_ROWS = 12, 4, 6
NEW_TOKENS = 4
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
SETTINGS = {
    "training": {
        "steps": 2,
        "epochs": None,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "checkpoint_steps": 2,
    },
    "gradient": {"samples": 4, "batch_size": 2},
    "prediction": {"batch_size": 8},
}
LENGTHS = {"training": {"max_length": 512}}  # read bytes are many tokens
Row = dict[str, Any]
TEXTS: dict[str, Callable[[int], Row]] = {  # data set -> a row with its columns
    "meta-math/MetaMathQA": lambda n: {
        "query": f"What is {n} + 1?",
        "response": f"We add 1 to {n}. The answer is: {n + 1}",
    },
    "openai/gsm8k": lambda n: {
        "question": f"Ann has {n} pens and buys 1. How many has she?",
        "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}",
    },
    "DigitalLearningGmbH/MATH-lighteval": lambda n: {
        "problem": f"Compute ${n}+1$.",
        "solution": f"It is $\\boxed{{{n + 1}}}$.",
    },
}
# file of LLM-Adapters -> an answer as it has them
CHOICES = {
    "boolq": "true",
    "piqa": "solution1",
    "hellaswag": "ending1",
    "winogrande": "option1",
}


def shrink(root: Path, study: str, *, tasks: Sequence[str], variants: Sequence[str]) -> None:
    """Rewrite the study in a copy of the project, with its models and tasks, for some of them."""
    data = config.load_study(study)
    data |= {"tasks": list(tasks), "seeds": [0], "task_settings": {}}
    data["variants"] = {name: _small(data["variants"][name]) for name in variants}
    data["settings"] = config.merge(data.get("settings", {}), SETTINGS)
    small = [_small_model(root, model) for model in data["models"]]
    if small != data["models"]:
        data["settings"] = config.merge(data["settings"], LENGTHS)
    data["models"] = small
    _write(root / f"config/studies/{study}.yaml", data)
    for task in tasks:
        small = config.load_task_config(task)
        if small["source"]["loader"] != "generated":
            _write(root / f"config/tasks/{task}.yaml", small_task(small, root / "rows" / task))


def build_model(architecture: Path, folder: Path, spec: config.Data) -> None:
    """A model of the architecture's class with tiny sizes, in the dtype of `spec`."""
    tokenizer = build_tokenizer()
    given = AutoConfig.from_pretrained(architecture)
    sizes = {name: size for name, size in SIZES.items() if hasattr(given, name)}
    written = json.loads((architecture / "config.json").read_text())
    shape = type(given)(**written | sizes | {"vocab_size": len(tokenizer)})
    kind = AutoModelForCausalLM if "generation" in spec["kinds"] else AutoModelForMaskedLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind.from_config(shape)
    model.to(getattr(torch, spec["dtype"])).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _small_model(root: Path, model: str) -> str:
    """The name of a miniature of the model; a bundled model is small enough."""
    spec = config.load_model_config(model)
    if spec["architecture"] is None:
        return model
    folder = root / "miniatures" / model
    build_model(Path(spec["architecture"]).parent, folder, spec)
    spec |= {"hub_id": None, "path": str(folder), "architecture": None}
    name = f"{model}-miniature"
    _write(root / f"config/models/{name}.yaml", spec)
    # what the paper says of the model stands beside the miniature's scores
    paper = root / "analysis/paper.csv"
    paper.write_text(paper.read_text().replace(f",{model},", f",{name},"))
    return name


def small_task(task: config.Data, folder: Path) -> config.Data:
    """The task on a few rows, which are written to `folder`."""
    splits = task["splits"]
    splits["train"]["rows"] = TRAINING_ROWS
    splits["selection"]["rows"] = min(SELECTION_ROWS, splits["selection"]["rows"])
    counts = {splits["train"]["from"]: TRAINING_ROWS + SELECTION_ROWS}
    for name, one in splits["test"].get("sets", {"": splits["test"]}).items():
        one["rows"] = None
        if "max_new_tokens" in one:
            one["max_new_tokens"] = NEW_TOKENS
        if "source" in one:
            one["source"] = _source(task, one["source"], folder / name, {one["from"]: TEST_ROWS})
        else:
            counts[one["from"]] = TEST_ROWS
    if task["kind"] == "generation":
        task["max_new_tokens"] = NEW_TOKENS
    return task | {"source": _source(task, task["source"], folder, counts)}


def _source(
    task: config.Data, source: config.Data, folder: Path, counts: dict[str, int]
) -> config.Data:
    """Files in place of a source, with so many rows of each of its splits."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        rows = [_row(task, source, split, number) for number in range(count)]
        lines = [json.dumps(row) for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    files = {
        split: {"path": f"{split}.jsonl", "rows": count, "sha256": None}
        for split, count in counts.items()
    }
    nowhere = {"url": "http://localhost", "revision": "none"}
    return {"loader": "files", "folder": str(folder), **nowhere, "files": files}


def _row(task: config.Data, source: config.Data, split: str, number: int) -> Row:
    if source.get("path") in TEXTS:
        return TEXTS[source["path"]](number)
    if source["loader"] == "files":
        answer = CHOICES.get(split, "answer1")
        question = f"Which is right, {number}?\n\nAnswer format: {answer}"
        return {"instruction": question, "output": f"the correct answer is {answer}"}
    label = number % 5 / 2 if task["kind"] == "regression" else number % task["num_labels"]
    texts = {name: f"A {name} with the number {number}." for name in task["columns"]["text"]}
    return texts | {task["columns"]["label"]: label}


def _small(variant: config.Data) -> config.Data:
    """Rank 2 in place of the study's ranks."""
    return variant | ({"ranks": [2]} if "ranks" in variant else {})


def _write(path: Path, data: config.Data) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
