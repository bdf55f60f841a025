"""Rule `prepare_task`."""

from __future__ import annotations

from lorasb.models.limits import limits
from lorasb.models.load import load_tokenizer
from lorasb.records import Inputs, alone, write_record
from lorasb.study.paths import DATA
from lorasb.study.study import Study
from lorasb.tasks.fit import check_lengths, check_rows, check_tokenizer
from lorasb.tasks.prepare import prepare, write_prepared
from lorasb.tasks.task import SPLITS
from lorasb.training.setup import note_data, note_tokenizer

SPLIT_SEED = 0  # of the rows cut from the training split for selection: the same in every study


def prepare_task(study: str, model: str, task: str) -> None:
    """Tokenise the splits of a task and write them with their manifest."""
    found = Study.load(study)
    resolved = found.resolved(model, task)
    spec, own = resolved.model, resolved.task
    max_length, tokenizer = resolved.settings["training"]["max_length"], load_tokenizer(spec)
    room = limits(spec, kind=own.kind, num_labels=own.num_labels)
    check_lengths(own, max_length, room)
    check_tokenizer(tokenizer, room)
    inputs = Inputs()
    note_data(inputs, found, model, task)
    note_tokenizer(inputs, tokenizer)
    folder = found.folder(DATA, model, task)
    with alone(folder / "record.json") as made:
        if made(inputs):
            return
        splits, manifest = prepare(own, tokenizer, max_length=max_length, seed=SPLIT_SEED)
        check_rows(own, splits, tokenizer, room)
        write_prepared(splits, manifest, folder)
        files = [*(folder / f"{split}.parquet" for split in SPLITS), folder / "manifest.json"]
        write_record(folder / "record.json", files, inputs)
