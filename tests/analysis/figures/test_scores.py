"""The two figures of scores over costs, and what they share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer

from analysis import stats
from analysis.figures import score_vs_memory, score_vs_stored, score_vs_time, score_vs_trainable
from tests.analysis.conftest import METHODS, NAMES, make_tables

FIGURES = [
    (score_vs_trainable.draw, "trainable_parameters"),
    (score_vs_stored.draw, "stored_parameters"),
]


def legend_labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def bars(axes):
    """Line, lower and upper ends of each method's error bars, by label."""
    found = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _, (segments,) = container.lines
        # a bar without an interval has no ends
        ends = np.array([part[:, 1] for part in segments.get_segments() if len(part)])
        found[container.get_label()] = (line, ends)
    return found


@pytest.mark.parametrize(("draw", "cost"), FIGURES)
def test_points_are_costs_and_mean_scores_and_bars_are_t_intervals(tables, draw, cost):
    axes = draw(tables.runs, NAMES).axes[1]
    line, ends = bars(axes)["LoRA-SB, r = 4, 16"]
    runs = tables.runs.query("task == 'world' and variant == 'lora-sb'")
    for place, rank in enumerate((4, 16)):
        cells = runs[runs["rank"] == rank]
        expected = stats.mean_interval(cells["score"].to_numpy())
        assert line.get_xdata()[place] == cells[cost].iloc[0]
        assert line.get_ydata()[place] == pytest.approx(100 * expected.mean)
        assert ends[place] == pytest.approx([100 * expected.low, 100 * expected.high])
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(("draw", "cost"), FIGURES)
def test_every_point_and_bar_lies_inside_the_axes(tables, draw, cost):
    del cost
    for axes in draw(tables.runs, NAMES).axes:
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        for line, ends in bars(axes).values():
            assert left < min(line.get_xdata()) <= max(line.get_xdata()) < right
            assert bottom < ends.min() <= ends.max() < top


def test_measured_costs_are_medians_over_seeds_on_a_linear_axis(tables):
    for module, column, unit in [
        (score_vs_memory, "peak_memory_bytes", 1e9),
        (score_vs_time, "train_seconds", 1),
    ]:
        runs = tables.runs.copy()
        cells = (runs["variant"] == "lora") & (runs["task"] == "world")
        runs.loc[cells, column] = [1e9, 3e9, 9e9]
        axes = module.draw(runs, NAMES).axes[1]
        line, _ = bars(axes)["LoRA, r = 8"]
        assert line.get_xdata() == [3e9 / unit]
        assert axes.get_xscale() == "linear"
        assert "base model" not in bars(axes)  # nothing is trained: a line


def front(axes):
    return next(line for line in axes.lines if line.get_drawstyle() == "steps-post")


def test_the_dashed_line_joins_what_nothing_of_less_or_equal_cost_is_better_than():
    methods = [
        *[("lora", 8, 100, 100, 0.5, 0.0), ("lora-xs", 4, 100, 100, 0.6, 0.0)],
        *[("lora-sb", 4, 200, 200, 0.55, 0.0), ("full", 0, 900, 900, 0.9, 0.0)],
    ]
    runs = make_tables(methods=methods).runs
    line = front(score_vs_trainable.draw(runs, NAMES).axes[0])
    assert list(line.get_xdata()) == [100, 900]
    assert list(line.get_ydata()) == pytest.approx([60, 90])
    line = front(score_vs_trainable.draw(runs.assign(metric="answer_loss"), NAMES).axes[0])
    assert list(line.get_xdata()) == [100]
    assert list(line.get_ydata()) == pytest.approx([50])


def many(twins=40, **options):
    added = [(f"lora-sb-n{number}", 16, 7_168, 7_168, 0.8, 0.01) for number in range(twins)]
    return make_tables(methods=[*METHODS, *added], **options).runs


def test_many_methods_are_rows_whose_names_marks_and_bars_do_not_touch():
    figure = score_vs_trainable.draw(many(), NAMES)
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == len(METHODS) + 40
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= figure.bbox.x0
    for axes in figure.axes:
        own = axes.get_tightbbox()
        assert own.x1 <= figure.bbox.x1
        assert own.y0 >= figure.bbox.y0


def test_rows_are_in_the_order_of_the_mean_over_tasks_the_best_on_top():
    figure = score_vs_trainable.draw(many(), NAMES)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    means = many().groupby(["variant", "rank", "task"])["score"].mean().groupby(level=[0, 1]).mean()
    order = means.sort_values(ascending=False, kind="stable").index
    assert labels == [NAMES.label(*point) for point in order]
    bottom, top = figure.axes[0].get_ylim()
    assert bottom > top


def test_a_row_has_its_score_its_interval_its_cost_and_is_filled_on_the_front():
    runs = many()
    figure = score_vs_trainable.draw(runs, NAMES)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    place = labels.index("LoRA-SB, r = 4")
    cells = runs.query("task == 'world' and variant == 'lora-sb' and rank == 4")
    expected = stats.mean_interval(cells["score"].to_numpy())
    found = {box.lines[0].get_ydata()[0]: box for box in figure.axes[1].containers}
    line, _, (segments,) = found[place].lines
    assert line.get_xdata()[0] == pytest.approx(100 * expected.mean)
    ends = segments.get_segments()[0][:, 0]
    assert ends == pytest.approx([100 * expected.low, 100 * expected.high])
    costs = {mark.get_ydata()[0]: mark.get_xdata()[0] for mark in figure.axes[-1].lines}
    assert costs[place] == 448
    assert labels.index("base model") not in costs
    filled = [box.lines[0].get_markerfacecolor() != "white" for _, box in sorted(found.items())]
    assert filled[labels.index("full fine-tuning")]
    # 41 of one cost and task: one is the best
    assert sum(filled) < 8


def test_models_of_many_methods_have_a_panel_of_costs_each():
    runs = many(tasks=2)
    figure = score_vs_trainable.draw(pd.concat([runs, runs.assign(model="other")]), NAMES)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Arithmetic", "World", "Quickstart Llama", "Arithmetic", "World", "other"]


def test_base_is_a_dotted_line_and_full_a_point_with_a_line(tables):
    axes = score_vs_trainable.draw(tables.runs, NAMES).axes[0]
    levels = {line.get_ydata()[0]: line for line in axes.lines if len(set(line.get_xdata())) == 2}
    base = next(line for line in axes.lines if line.get_label() == "base model")
    assert base.get_linestyle() == ":"
    assert base.get_ydata() == pytest.approx([12, 12])
    full, _ = bars(axes)["full fine-tuning"]
    assert full.get_ydata()[0] in levels


def test_methods_of_equal_cost_are_shifted_and_others_are_not(tables):
    figure = score_vs_trainable.draw(tables.runs, NAMES)
    found = bars(figure.axes[0])
    places = {
        label: line.get_transform().transform((1000, 50))[0]
        - figure.axes[0].transData.transform((1000, 50))[0]
        for label, (line, _) in found.items()
    }
    assert places["LoRA, r = 8"] == places["full fine-tuning"] == 0
    assert places["LoRA-XS, r = 4, 16"] == pytest.approx(-places["LoRA-SB, r = 4, 16"])
    assert places["LoRA-SB, r = 4, 16"] > 0


def test_titles_labels_and_legend_are_for_strangers(tables):
    figure = score_vs_trainable.draw(tables.runs, NAMES)
    assert [axes.get_title() for axes in figure.axes] == ["Arithmetic", "World", "Sentences"]
    assert {axes.get_ylabel() for axes in figure.axes} == {"Accuracy (%)"}
    assert "Trainable parameters" in figure.get_supxlabel()
    assert legend_labels(figure) == [
        "base model",
        "full fine-tuning",
        "LoRA, r = 8",
        "LoRA-XS, r = 4, 16",
        "LoRA-SB, r = 4, 16",
    ]
    assert figure.legends[0].get_title().get_text() == "mean of 3 seeds,\nbars: 95 % interval"


@pytest.mark.parametrize("tasks", [1, 2, 4, 6])
def test_one_panel_a_task(tasks):
    assert len(score_vs_trainable.draw(make_tables(tasks=tasks).runs, NAMES).axes) == tasks


def test_one_seed_has_no_bars_but_is_drawn():
    figure = score_vs_trainable.draw(make_tables(seeds=1).runs, NAMES)
    line, ends = bars(figure.axes[0])["LoRA, r = 8"]
    assert not np.isfinite(ends).any()
    assert np.isfinite(line.get_ydata()).all()
    assert figure.legends[0].get_title().get_text() == "1 seed"
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < line.get_ydata()[0] < top


def test_missing_cells_leave_the_other_tasks_alone(tables):
    runs = tables.runs.copy()
    gone = (runs["task"] == "world") & (runs["variant"] == "lora-sb")
    runs.loc[gone, ["status", "score"]] = ["failed", np.nan]
    figure = score_vs_trainable.draw(runs, NAMES)
    assert "LoRA-SB, r = 4, 16" not in bars(figure.axes[1])
    assert "LoRA-SB, r = 4, 16" in bars(figure.axes[0])
    assert "LoRA-SB, r = 4, 16" in legend_labels(figure)


def test_a_task_without_scores_has_no_panel(tables):
    runs = tables.runs.copy()
    runs.loc[runs["task"] == "world", ["status", "score"]] = ["failed", np.nan]
    titles = [axes.get_title() for axes in score_vs_trainable.draw(runs, NAMES).axes]
    assert "World" not in titles
    assert len(titles) == tables.runs["task"].nunique() - 1


def test_a_study_without_scores_says_so(tables):
    figure = score_vs_trainable.draw(tables.runs.assign(status="failed", score=np.nan), NAMES)
    assert figure.texts[-1].get_text() == "No run has a score."
    assert not figure.axes


def test_unknown_methods_are_drawn_in_styles_of_their_own():
    methods = METHODS + [(name, 8, 9000, 9000, 0.7, 0.01) for name in ("dora", "pissa", "rslora")]
    figure = score_vs_trainable.draw(make_tables(methods=methods).runs, NAMES)
    found = bars(figure.axes[0])
    looks = NAMES.styles(name for name, *_ in methods)
    assert found["DoRA, r = 8"][0].get_color() == looks["dora"].color
    assert len({line.get_color() for line, _ in found.values()}) == len(found) == 7


def test_models_share_a_figure_with_their_names_in_the_titles(tables):
    runs = pd.concat([tables.runs, tables.runs.assign(model="other")], ignore_index=True)
    titles = [axes.get_title() for axes in score_vs_trainable.draw(runs, NAMES).axes]
    assert titles[3] == "Arithmetic, other"
