"""Rule `estimate_gradient`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lorasb.records import Inputs
from lorasb.start.gradients import estimate_gradients, save_gradients
from lorasb.start.write import write_start
from lorasb.study.hashes import gradient_hash
from lorasb.study.paths import DATA, STARTS
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
    path = Path(STARTS["gradient"].format(**names))
    inputs.note(f"the settings of {path.parent}", gradient_hash(found, model, task, samples))

    def make() -> dict[str, torch.Tensor]:
        loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
            start_samples(rows, samples, seed),  # type: ignore[arg-type]
            batch_size=settings["batch_size"],
            collate_fn=Collator(tokenizer),
        )
        return estimate_gradients(
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

    write_start(path, inputs, make, save_gradients, lambda _: {"samples": samples})
