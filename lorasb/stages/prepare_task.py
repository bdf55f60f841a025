"""Rule `prepare_task`."""

from __future__ import annotations

from lorasb.models.load import load_tokenizer
from lorasb.study.paths import DATA
from lorasb.study.study import Study
from lorasb.tasks.prepare import prepare, write_prepared

SPLIT_SEED = 0  # of the rows cut from the training split for selection: the same in every study


def prepare_task(study: str, model: str, task: str) -> None:
    """Tokenise the splits of a task and write them with their manifest."""
    found = Study.load(study)
    resolved = found.resolved(model, task)
    splits, manifest = prepare(
        resolved.task,
        load_tokenizer(resolved.model),
        max_length=resolved.settings["training"]["max_length"],
        seed=SPLIT_SEED,
    )
    write_prepared(splits, manifest, found.folder(DATA, model, task))
