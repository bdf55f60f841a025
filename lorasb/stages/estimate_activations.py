"""Rule `estimate_activations`."""

from __future__ import annotations

from pathlib import Path

from lorasb.errors import UserError
from lorasb.records import Inputs
from lorasb.start.activations import Activations, save_activations
from lorasb.start.activations import estimate_activations as estimate
from lorasb.start.write import write_start
from lorasb.study.hashes import activations_hash
from lorasb.study.paths import DATA, STARTS
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
    path = Path(STARTS["activations"].format(**names))
    inputs.note(f"the settings of {path.parent}", activations_hash(found, model, task, samples))
    collate = Collator(tokenizer)

    def make() -> Activations:
        return estimate(
            network,
            (collate([row]) for row in start_samples(rows, samples, seed)),
            target_modules=resolved.model.target_modules,
            exclude=resolved.task_head,
        )

    write_start(path, inputs, make, save_activations, lambda _: {"samples": samples})
