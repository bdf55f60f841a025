"""Rule `estimate_activations`."""

from __future__ import annotations

from pathlib import Path

from lorasb.errors import UserError
from lorasb.files import write_json
from lorasb.machine import measured
from lorasb.records import Inputs, alone, write_record
from lorasb.start.activations import estimate_activations as estimate
from lorasb.start.activations import save_activations
from lorasb.study.hashes import activations_hash
from lorasb.study.paths import ACTIVATIONS, DATA
from lorasb.study.study import Study
from lorasb.tasks.collate import Collator
from lorasb.tasks.prepare import read_split
from lorasb.training.setup import load_base, note_data, start_samples


def estimate_activations(study: str, model: str, task: str, samples: int, seed: int) -> None:
    """Moments of the adapted layers' inputs and states between blocks, of so many samples.

    More samples of a seed include the fewer ones, and are those of the gradient.
    """
    found = Study.load(study)
    resolved = found.resolved(model, task)
    inputs = Inputs()
    note_data(inputs, found, model, task)
    rows = read_split(inputs.file(found.folder(DATA, model, task) / "train.parquet")).to_list()
    if len(rows) < samples:
        raise UserError(f"{task}: {len(rows)} training rows for {samples} samples; ask for fewer")
    network, tokenizer = load_base(resolved, seed, inputs)
    names = {"study": study, "model": model, "task": task, "samples": samples, "seed": seed}
    folder = Path(ACTIVATIONS.format(**names))
    files = folder / "activations.safetensors", folder / "activations.json"
    inputs.note(f"the settings of {folder}", activations_hash(found, model, task, samples))
    with alone(folder / "record.json") as made:
        if made(inputs):
            return
        collate = Collator(tokenizer)
        with measured() as cost:
            activations = estimate(
                network,
                (collate([row]) for row in start_samples(rows, samples, seed)),
                target_modules=resolved.model.target_modules,
                exclude=resolved.task_head,
            )
        save_activations(activations, files[0])
        write_json(files[1], cost | {"samples": samples})
        write_record(folder / "record.json", files, inputs)
