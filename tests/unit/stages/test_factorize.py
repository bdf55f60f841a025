"""The settings of the SVD reach the factors of the gradient."""

from __future__ import annotations

import pytest
import torch

from lorasb.stages.factorize import factorize_gradient
from lorasb.start.factors import load_factors
from lorasb.start.gradients import save_gradients
from lorasb.study.paths import STARTS
from lorasb.study.study import Study
from tests.unit.kept import record

NAMES = {"study": "quickstart", "model": "quickstart-llama", "task": "world"}
NAMES |= {"samples": 64, "seed": 0}


@pytest.mark.parametrize(("svd", "rounded"), [("converged", False), ("one-pass", True)])
def test_the_settings_choose_the_svd(project, svd, rounded):
    defaults = project / "config/defaults.yaml"
    defaults.write_text(defaults.read_text().replace("svd: converged", f"svd: {svd}"))
    gradient = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    save_gradients({"w": gradient}, STARTS["gradient"].format(**NAMES))
    record(STARTS["gradient"].format(**NAMES))
    factorize_gradient(**NAMES)
    path = STARTS["gradient_factors"].format(**NAMES)
    U = load_factors(path, Study.load("quickstart").largest_rank)["w"].U
    assert torch.equal(U, U.bfloat16().float()) is rounded
