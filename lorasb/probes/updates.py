"""How well a method's update keeps the direction of full fine-tuning's; rule `probe_directions`.

Both are trained on the same batches with the same seed. For each adapted weight W and each kept
step, with D the change of W so far under the method and F under full fine-tuning:

- `cosine` = <D, F> / (|D| |F|), Frobenius;
- `random`: the same for the projection of F on a random r x r subspace, B B^T F A^T A with
  orthonormal B and A, which is |B^T F A^T| / |F| (its expectation is about r / sqrt(m n));
- `best_rank`: the same for F's best rank-r approximation (Eckart-Young), the most that any update
  of rank r can reach;
- `update_effective_rank`, `full_effective_rank`: of D and F
  (`lorasb.linalg.measures.effective_rank`).

Gradients at the same steps: `lorasb.probes.gradients`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from lorasb import grid
from lorasb.files import atomic
from lorasb.grid import Cell
from lorasb.linalg.measures import Control, best_rank_cosine, cosine, effective_rank
from lorasb.methods.registry import variant_method
from lorasb.probes.gradients import COLUMNS as PROBE_COLUMNS
from lorasb.probes.gradients import Probe, gradient_rows
from lorasb.probes.replay import Moment, replay
from lorasb.resolve import Resolved, resolve
from lorasb.seeding import generator
from lorasb.tasks.prepare import read_split

Updates = dict[int, dict[str, torch.Tensor]]  # step -> adapted weight -> its change so far
Spectra = dict[tuple[int, str], torch.Tensor]  # step, adapted weight -> singular values
Controls = dict[tuple[int, int, str], Control]  # the same of a rank
Rows = list[dict[str, Any]]

COLUMNS = [
    *("model", "task", "variant", "rank", "seed", "step", "module"),
    *("cosine", "random", "random_low", "random_high", "best_rank", "update_norm", "full_norm"),
    *("update_effective_rank", "full_effective_rank"),
]


def probe_directions(study: str, model: str, task: str, *, available: bool) -> None:
    """Rule `probe_directions`: updates and gradients of a task's cells along training.

    Cells that train nothing have neither. With `available`, cells without snapshots are left out;
    a seed without its reference then has gradients and no comparison of updates.
    """
    resolved = resolve(study, model, task)
    cells = [
        cell
        for cell in grid.final_cells(study)
        if (cell.model, cell.task) == (model, task)
        and variant_method(cell.variant).trains
        and ((cell.folder / "snapshots.safetensors").exists() or not available)
    ]
    names = {"study": study, "model": model, "task": task}
    train = read_split(Path(grid.DATA.format(**names)) / "train.parquet").to_list()
    directions: Rows = []
    gradients: Rows = []
    if resolved.settings["probe"]["points"]:
        for seed in sorted({cell.seed for cell in cells}):
            same_seed = [cell for cell in cells if cell.seed == seed]
            compared, probed = _probe_seed(same_seed, resolved, train)
            directions += compared
            gradients += probed
    _write(directions, COLUMNS, grid.DIRECTIONS.format(**names))
    _write(gradients, PROBE_COLUMNS, grid.GRADIENT_PROBES.format(**names))


def _probe_seed(cells: list[Cell], resolved: Resolved, train: Rows) -> tuple[Rows, Rows]:
    """Rows of the two tables for the cells of one seed."""
    settings, seed = resolved.settings["probe"], cells[0].seed
    probe = Probe(resolved, train, seed, grid.largest_rank(cells[0].study))
    ranks = sorted({cell.rank for cell in cells if cell.rank})
    references: list[tuple[Updates, Controls, Spectra]] = []
    directions: Rows = []
    gradients: Rows = []
    ordered = sorted(cells, key=lambda cell: cell.variant != settings["reference"])
    for cell in tqdm(ordered, desc=f"probe, seed {seed}", file=sys.stderr, disable=None):
        own: Updates = {}
        gradients += gradient_rows(cell, _noted(replay(cell, resolved, len(train)), own), probe)
        if cell.variant == settings["reference"]:
            controls = random_controls(own, ranks, settings["random_draws"], seed)
            references.append((own, controls, singular_values(own)))
        if cell.rank:
            for full, controls, spectra in references:
                directions += compare(cell, own, full, controls, spectra)
    return directions, gradients


def _noted(moments: Iterable[Moment], updates: Updates) -> Iterator[Moment]:
    """The same moments; their updates are left in `updates`."""
    for moment in moments:
        updates[moment.step] = dict(moment.updates)
        yield moment


def singular_values(updates: Updates) -> Spectra:
    """Singular values of every update."""
    return {
        (step, name): torch.linalg.svdvals(matrix.double())
        for step, matrices in updates.items()
        for name, matrix in matrices.items()
    }


def random_controls(full: Updates, ranks: list[int], draws: int, seed: int) -> Controls:
    """For each rank, step and weight: what random orthonormal bases of that rank reach."""
    random = generator(seed, "random-bases")
    controls: Controls = {}
    for rank in ranks:
        for name in next(iter(full.values())):
            steps = torch.stack([update[name] for update in full.values()])
            cosines = random_cosines(steps, rank, draws, random)
            low, high = torch.quantile(cosines, torch.tensor([0.025, 0.975]), dim=0)
            for index, step in enumerate(full):
                controls[rank, step, name] = Control(
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
    controls: Controls,
    spectra: Spectra,
) -> Rows:
    """One row a step and adapted weight; `spectra` are those of `full`."""
    columns: dict[str, Any] = {name: getattr(cell, name) for name in COLUMNS[:5]}
    rows: Rows = []
    for step, reference in full.items():
        for name, target in reference.items():
            update = own[step][name]
            control, values = controls[cell.rank, step, name], spectra[step, name]
            rows.append(
                columns
                | {
                    "step": step,
                    "module": name,
                    "cosine": cosine(update, target),
                    "random": control.mean,
                    "random_low": control.low,
                    "random_high": control.high,
                    "best_rank": best_rank_cosine(values, cell.rank),
                    "update_norm": update.norm().item(),
                    "full_norm": target.norm().item(),
                    "update_effective_rank": effective_rank(torch.linalg.svdvals(update)),
                    "full_effective_rank": effective_rank(values),
                }
            )
    return rows


def _write(rows: Rows, columns: list[str], path: str) -> None:
    with atomic(path) as partial:
        pd.DataFrame(rows, columns=columns).to_csv(partial, index=False, float_format="%.7g")
