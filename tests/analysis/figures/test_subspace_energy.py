from __future__ import annotations

import pytest

from analysis.figures import subspace_energy as figure_module
from tests.analysis.conftest import NAMES


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_only_methods_with_fixed_bases_are_drawn(tables):
    figure = figure_module.draw(tables.gradients, NAMES)
    assert len(figure.axes) == 6
    names = {name for axes in figure.axes for name in lines(axes)}
    assert names == {"LoRA-XS", "LoRA-SB", figure_module.CEILING, figure_module.FLOOR}
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}


def test_marks_are_shares_not_cosines(tables):
    axes = figure_module.draw(tables.gradients, NAMES).axes[0]
    cells = tables.gradients.query("task == 'arithmetic' and rank == 4")
    drawn = lines(axes)
    optimum = drawn[figure_module.CEILING].get_ydata()
    assert optimum == pytest.approx((cells["optimum_cosine"] ** 2).mean())
    random = drawn[figure_module.FLOOR].get_ydata()
    assert random == pytest.approx((cells["random_cosine"] ** 2).mean())
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.y1 == pytest.approx((cells["random_high"] ** 2).mean())
    own = cells.query("variant == 'lora-sb' and step == 100")["subspace_share"].mean()
    assert drawn["LoRA-SB"].get_ydata()[-1] == pytest.approx(own)


def test_no_fixed_bases_no_panels(tables):
    figure = figure_module.draw(tables.gradients.query("variant == 'lora'"), NAMES)
    assert figure.texts[-1].get_text() == "No method has a fixed subspace."
