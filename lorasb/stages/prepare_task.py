"""Rule `prepare_task`."""

from __future__ import annotations

from pathlib import Path

from lorasb import grid
from lorasb.models.load import load_tokenizer
from lorasb.models.spec import ModelSpec
from lorasb.resolve import resolve
from lorasb.tasks.prepare import prepare, write_prepared
from lorasb.tasks.task import Task

SPLIT_SEED = 0  # of the rows cut from the training split for selection: the same in every study


def prepare_task(study: str, model: str, task: str) -> None:
    """Tokenise the splits of a task and write them with their manifest."""
    resolved = resolve(study, model, task)
    tokenizer = load_tokenizer(ModelSpec.from_config(resolved.model))
    max_length = resolved.settings["training"]["max_length"]
    splits, manifest = prepare(
        Task.from_config(task, resolved.task), tokenizer, max_length=max_length, seed=SPLIT_SEED
    )
    write_prepared(splits, manifest, Path(grid.DATA.format(study=study, model=model, task=task)))
