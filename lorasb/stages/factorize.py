"""Rules `factorize_gradient` and `factorize_weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorasb import grid
from lorasb.config import read as config
from lorasb.files import load_tensors, write_json
from lorasb.machine import measured
from lorasb.resolve import resolve
from lorasb.seeding import generator
from lorasb.start.factors import factorize, save_factors


def factorize_gradient(study: str, model: str, task: str, samples: int, seed: int) -> None:
    """Truncated SVD of the first step, at the study's largest rank."""
    settings = resolve(study, model, task).settings["factors"]
    names = {"study": study, "model": model, "task": task, "samples": samples, "seed": seed}
    gradients = load_tensors(Path(grid.GRADIENT.format(**names)) / "gradient.safetensors")
    with measured() as cost:
        factors = factorize(
            gradients,
            grid.largest_rank(study),
            step=settings["step"],
            svd=settings["svd"],
            generator=generator(seed, "svd"),
        )
    _write_factors(factors, cost, Path(grid.GRADIENT_FACTORS.format(**names)))


def factorize_weights(study: str, model: str) -> None:
    """Truncated SVD of the adapted weights of the base model."""
    from lorasb.models.layers import matching_modules, oriented_weight
    from lorasb.training.setup import load_base

    task = config.load_study(study)["tasks"][0]  # the adapted weights are the same for every task
    resolved = resolve(study, model, task)
    network, _ = load_base(resolved, seed=0)
    modules = matching_modules(network, resolved.model["target_modules"])
    weights = {name: oriented_weight(module) for name, module in modules.items()}
    with measured() as cost:
        factors = factorize(
            weights, grid.largest_rank(study), step="none", generator=generator(0, "svd")
        )
    _write_factors(factors, cost, Path(grid.WEIGHT_FACTORS.format(study=study, model=model)))


def _write_factors(factors: Any, cost: dict[str, float], folder: Path) -> None:
    save_factors(factors, folder / "factors.safetensors")
    residual = {name: factor.residual for name, factor in factors.items()}
    write_json(folder / "factors.json", cost | {"residual": residual})
