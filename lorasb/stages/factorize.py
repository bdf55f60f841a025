"""Rules `factorize_gradient` and `factorize_weights`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lorasb.linalg.svd import Factors
from lorasb.records import Inputs
from lorasb.seeding import generator
from lorasb.start.factors import factorize, save_factors
from lorasb.start.gradients import load_gradients
from lorasb.start.write import write_start
from lorasb.study.hashes import factors_hash, weight_factors_hash
from lorasb.study.paths import STARTS
from lorasb.study.study import Study


def factorize_gradient(study: str, model: str, task: str, samples: int, seed: int) -> None:
    """Truncated SVD of the first step, at the study's largest rank."""
    found = Study.load(study)
    settings = found.settings(task)["factors"]
    names = {"study": study, "model": model, "task": task, "samples": samples, "seed": seed}
    path = Path(STARTS["gradient_factors"].format(**names))
    inputs = Inputs()
    gradients = load_gradients(inputs.file(STARTS["gradient"].format(**names)))
    inputs.note(f"the settings of {path}", factors_hash(found, model, task, samples))
    make = partial(
        factorize,
        gradients,
        found.largest_rank,
        step=settings["step"],
        svd=settings["svd"],
        generator=generator(seed, "svd"),
    )
    write_start(path, inputs, make, save_factors, _residuals)


def factorize_weights(study: str, model: str) -> None:
    """Truncated SVD of the adapted weights of the base model."""
    from lorasb.models.layers import matching_modules, oriented_weight
    from lorasb.training.setup import load_base, note_base

    found = Study.load(study)
    task = next(iter(found.tasks))  # the adapted weights are the same for every task
    resolved = found.resolved(model, task)
    inputs = Inputs()
    network, _ = load_base(resolved, seed=0)
    note_base(inputs, found.models[model])
    modules = matching_modules(network, resolved.model.target_modules, resolved.task_head)
    weights = {name: oriented_weight(module) for name, module in modules.items()}
    path = Path(STARTS["weight_factors"].format(study=study, model=model))
    inputs.note(f"the settings of {path}", weight_factors_hash(found, model))
    random = generator(0, "svd")
    make = partial(factorize, weights, found.largest_rank, step="none", generator=random)
    write_start(path, inputs, make, save_factors, _residuals)


def _residuals(factors: dict[str, Factors]) -> dict[str, dict[str, float]]:
    return {"residual": {name: factor.residual for name, factor in factors.items()}}
