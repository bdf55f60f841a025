"""Rule `estimate_gradient`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lorasb.files import write_json
from lorasb.machine import measured
from lorasb.records import Inputs, alone, write_record
from lorasb.start.gradients import estimate_gradients, save_gradients
from lorasb.study.hashes import gradient_hash
from lorasb.study.paths import DATA, GRADIENT
from lorasb.study.study import Study
from lorasb.tasks.collate import Collator
from lorasb.tasks.prepare import read_split
from lorasb.training.setup import load_base, note_data, start_samples


def estimate_gradient(study: str, model: str, task: str, samples: int, seed: int) -> None:
    """Estimate the gradient of the adapted weights at the base model, from so many samples.

    More samples of a seed include the fewer ones.
    """
    found = Study.load(study)
    resolved = found.resolved(model, task)
    settings = resolved.settings["gradient"]
    inputs = Inputs()
    note_data(inputs, found, model, task)
    rows = read_split(inputs.file(found.folder(DATA, model, task) / "train.parquet")).to_list()
    network, tokenizer = load_base(resolved, seed, inputs)
    names = {"study": study, "model": model, "task": task, "samples": samples, "seed": seed}
    folder = Path(GRADIENT.format(**names))
    files = folder / "gradient.safetensors", folder / "gradient.json"
    inputs.note(f"the settings of {folder}", gradient_hash(found, model, task, samples))
    with alone(folder / "record.json") as made:
        if made(inputs):
            return
        loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
            start_samples(rows, samples, seed),  # type: ignore[arg-type]
            batch_size=settings["batch_size"],
            collate_fn=Collator(tokenizer),
        )
        with measured() as cost:
            gradients = estimate_gradients(
                network,
                loader,
                target_modules=resolved.model.target_modules,
                exclude=resolved.task_head,
                num_samples=samples,
                memory_limit_bytes=settings["memory_limit_bytes"],
                dropout=settings["dropout"],
                reduction=settings["reduction"],
                logits=resolved.settings["training"]["logits"],
            )
        save_gradients(gradients, files[0])
        write_json(files[1], cost | {"samples": samples})
        write_record(folder / "record.json", files, inputs)
