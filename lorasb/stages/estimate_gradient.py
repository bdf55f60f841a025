"""Rule `estimate_gradient`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lorasb.files import write_json
from lorasb.machine import measured
from lorasb.seeding import generator
from lorasb.start.gradients import estimate_gradients, save_gradients
from lorasb.study.paths import DATA, GRADIENT
from lorasb.study.study import Study
from lorasb.tasks.collate import Collator
from lorasb.tasks.prepare import read_split
from lorasb.training.setup import load_base


def estimate_gradient(study: str, model: str, task: str, samples: int, seed: int) -> None:
    """Estimate the gradient of the adapted weights at the base model, from so many samples.

    More samples of a seed include the fewer ones.
    """
    found = Study.load(study)
    resolved = found.resolved(model, task)
    settings = resolved.settings["gradient"]
    network, tokenizer = load_base(resolved, seed)
    rows = read_split(found.folder(DATA, model, task) / "train.parquet").to_list()
    chosen = torch.randperm(len(rows), generator=generator(seed, "gradient"))
    loader: torch.utils.data.DataLoader[Any] = torch.utils.data.DataLoader(
        [rows[index] for index in chosen[:samples].tolist()],  # type: ignore[arg-type]
        batch_size=settings["batch_size"],
        collate_fn=Collator(tokenizer),
    )
    with measured() as cost:
        gradients = estimate_gradients(
            network,
            loader,
            target_modules=resolved.model.target_modules,
            num_samples=samples,
            memory_limit_bytes=settings["memory_limit_bytes"],
            dropout=settings["dropout"],
            reduction=settings["reduction"],
        )
    names = {"study": study, "model": model, "task": task, "samples": samples, "seed": seed}
    folder = Path(GRADIENT.format(**names))
    save_gradients(gradients, folder / "gradient.safetensors")
    write_json(folder / "gradient.json", cost | {"samples": samples})
