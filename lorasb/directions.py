"""How well a method's update keeps the direction of full fine-tuning's.

Both are trained on the same batches with the same seed. For each adapted weight W and each kept
step, with D the change of W so far under the method and F under full fine-tuning:

- `cosine` = <D, F> / (|D| |F|), Frobenius;
- `random`: the same for the projection of F on a random r x r subspace, B B^T F A^T A with
  orthonormal B and A, which is |B^T F A^T| / |F| (its expectation is about r / sqrt(m n));
- `best_rank`: the same for F's best rank-r approximation (Eckart-Young), the most that any update
  of rank r can reach.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from lorasb import grid
from lorasb.files import atomic, load_tensors
from lorasb.grid import Cell
from lorasb.models import matching_modules, oriented_weight
from lorasb.registry import variant_method
from lorasb.resolve import resolve
from lorasb.seeding import generator
from lorasb.stages.base import context, load_base
from lorasb.tasks.prepare import read_split

Updates = dict[int, dict[str, torch.Tensor]]  # step -> adapted weight -> its change so far

COLUMNS = [
    *("model", "task", "variant", "rank", "seed", "step", "module"),
    *("cosine", "random", "random_low", "random_high", "best_rank", "update_norm", "full_norm"),
]


@dataclass(frozen=True)
class Control:
    """Cosines that a random subspace reaches: mean and 95 % range over draws."""

    mean: float
    low: float
    high: float


def probe_directions(study: str, model: str, task: str, *, available: bool) -> None:
    """Rule `probe_directions`: the cells of a task against those of the reference variant.

    With `available`, cells without snapshots, and seeds without a reference, are left out.
    """
    settings = resolve(study, model, task).settings["probe"]
    cells = [
        cell
        for cell in grid.final_cells(study)
        if (cell.model, cell.task) == (model, task)
        and ((cell.folder / "snapshots.safetensors").exists() or not available)
    ]
    rows: list[dict[str, Any]] = []
    for reference in [cell for cell in cells if cell.variant == settings["reference"]]:
        same_seed = [cell for cell in cells if cell.seed == reference.seed and cell.rank]
        full = updates(reference)
        controls = random_controls(full, same_seed, settings["random_draws"], reference.seed)
        for cell in tqdm(same_seed, desc=f"directions, seed {reference.seed}", file=sys.stderr):
            rows += compare(cell, updates(cell), full, controls[cell.rank])
    with atomic(grid.DIRECTIONS.format(study=study, model=model, task=task)) as partial:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(partial, index=False)


def updates(cell: Cell) -> Updates:
    """The change of each adapted weight at each kept step of a cell, float32, (out, in)."""
    resolved = resolve(cell.study, cell.model, cell.task)
    network, _ = load_base(resolved, cell.seed)
    modules = matching_modules(network, resolved.model["target_modules"])
    base = {name: oriented_weight(module).clone() for name, module in modules.items()}
    method = variant_method(cell.variant)
    rows = len(read_split(cell.path(grid.DATA) / "train.parquet"))
    attached = method.attach(network, context(cell, resolved, rows))
    parameters = dict(attached.named_parameters())
    kept: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
    for key, value in load_tensors(cell.folder / "snapshots.safetensors").items():
        step, name = key.split("/", 1)
        kept[int(step)][name] = value
    found: Updates = {}
    for number in sorted(kept):
        with torch.no_grad():
            for name, value in kept[number].items():
                parameters[name].copy_(value)
        found[number] = method.updates(attached, base)
    return found


def random_controls(
    full: Updates, cells: list[Cell], draws: int, seed: int
) -> dict[int, dict[tuple[int, str], Control]]:
    """For each rank, step and weight: what random orthonormal bases of that rank reach."""
    random = generator(seed, "random-bases")
    controls: dict[int, dict[tuple[int, str], Control]] = {}
    for rank in sorted({cell.rank for cell in cells}):
        controls[rank] = {}
        for name in next(iter(full.values())):
            steps = torch.stack([update[name] for update in full.values()])
            cosines = random_cosines(steps, rank, draws, random)
            low, high = torch.quantile(cosines, torch.tensor([0.025, 0.975]), dim=0)
            for index, step in enumerate(full):
                controls[rank][step, name] = Control(
                    cosines[:, index].mean().item(), low[index].item(), high[index].item()
                )
    return controls


def random_cosines(
    matrices: torch.Tensor, rank: int, draws: int, random: torch.Generator
) -> torch.Tensor:
    """|B^T M A^T| / |M| for random orthonormal B, A of a rank: (draws, number of matrices)."""
    _, out, width = matrices.shape
    norms = torch.linalg.matrix_norm(matrices)
    cosines = []
    for _ in range(draws):
        b, _ = torch.linalg.qr(torch.randn(out, rank, generator=random))
        a, _ = torch.linalg.qr(torch.randn(width, rank, generator=random))
        cosines.append(torch.linalg.matrix_norm(b.T @ matrices @ a) / norms)
    return torch.stack(cosines)


def compare(
    cell: Cell,
    own: Updates,
    full: Updates,
    controls: dict[tuple[int, str], Control],
) -> list[dict[str, Any]]:
    """One row a step and adapted weight."""
    columns: dict[str, Any] = {name: getattr(cell, name) for name in COLUMNS[:5]}
    rows: list[dict[str, Any]] = []
    for step, reference in full.items():
        for name, target in reference.items():
            update = own[step][name]
            control = controls[step, name]
            rows.append(
                columns
                | {
                    "step": step,
                    "module": name,
                    "cosine": cosine(update, target),
                    "random": control.mean,
                    "random_low": control.low,
                    "random_high": control.high,
                    "best_rank": best_rank_cosine(target, cell.rank),
                    "update_norm": update.norm().item(),
                    "full_norm": target.norm().item(),
                }
            )
    return rows


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Cosine between two matrices as vectors; NaN if one of them is zero."""
    a, b = a.double().flatten(), b.double().flatten()
    return (a @ b / (a.norm() * b.norm())).item()


def best_rank_cosine(matrix: torch.Tensor, rank: int) -> float:
    """Cosine between a matrix and its best approximation of a rank."""
    energy = torch.linalg.svdvals(matrix.double()).square()
    return (energy[:rank].sum() / energy.sum()).sqrt().item()
