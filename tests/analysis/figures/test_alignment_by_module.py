from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures import alignment_by_module as figure_module
from tests.analysis.conftest import NAMES


def test_a_panel_a_point_and_task_on_one_scale(tables):
    figure = figure_module.draw(tables.gradients, NAMES)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 5 * 3
    assert panels[0].get_title() == "Arithmetic"
    assert [axes.get_ylabel() for axes in panels[::3]] == [
        "LoRA, r = 8",
        "LoRA-XS, r = 4",
        "LoRA-XS, r = 16",
        "LoRA-SB, r = 4",
        "LoRA-SB, r = 16",
    ]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1


def test_a_cell_is_the_mean_of_its_weight(tables):
    figure = figure_module.draw(tables.gradients, NAMES)
    image = figure.axes[13].images[0].get_array()  # LoRA-SB, r = 16, world
    kinds = [label.get_text() for label in figure.axes[12].get_yticklabels()]
    assert kinds == ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"]
    cells = tables.gradients.query("task == 'world' and rank == 16 and variant == 'lora-sb'")
    weight = cells[cells["module"] == "model.layers.2.self_attn.o_proj"]
    assert image[1, 2] == pytest.approx(weight["equivalent_cosine"].mean())


def test_layer_and_kind_of_names():
    names = [
        "model.layers.10.self_attn.q_proj",
        "bert.encoder.layer.2.attention.output.dense",
        "bert.encoder.layer.2.output.dense",
        "classifier",
    ]
    found = figure_module.with_places(pd.DataFrame({"module": names}))
    assert list(found["layer"]) == [10, 2, 2, 0]
    assert list(found["kind"]) == [
        "self_attn.q_proj",
        "attention.output.dense",
        "output.dense",
        "classifier",
    ]


def test_layers_are_in_the_order_of_their_numbers(tables):
    gradients = tables.gradients.query("variant == 'lora-sb' and rank == 16").copy()
    gradients["module"] = gradients["module"].str.replace("layers.1", "layers.10")
    axes = figure_module.draw(gradients, NAMES).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "10"]


def test_no_rows_no_panels(tables):
    figure = figure_module.draw(tables.gradients.iloc[:0], NAMES)
    assert figure.texts[-1].get_text() == "No gradients were measured."
