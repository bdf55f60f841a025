"""The settings of the SVD reach the factors of the gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lorasb import grid
from lorasb.stages.factorize import factorize_gradient
from lorasb.start.factors import load_factors
from lorasb.start.gradients import save_gradients

CELLS = {"study": "quickstart", "model": "quickstart-llama", "task": "world"}
CELLS |= {"samples": 64, "seed": 0}


@pytest.mark.parametrize(("svd", "rounded"), [("converged", False), ("one-pass", True)])
def test_the_settings_choose_the_svd(project, svd, rounded):
    defaults = project / "config/defaults.yaml"
    defaults.write_text(defaults.read_text().replace("svd: converged", f"svd: {svd}"))
    gradient = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    save_gradients({"w": gradient}, Path(grid.GRADIENT.format(**CELLS)) / "gradient.safetensors")
    factorize_gradient(**CELLS)
    path = Path(grid.GRADIENT_FACTORS.format(**CELLS)) / "factors.safetensors"
    U = load_factors(path, grid.largest_rank("quickstart"))["w"].U
    assert torch.equal(U, U.bfloat16().float()) is rounded
