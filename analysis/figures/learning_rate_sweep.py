"""Score over the learning rate, on the selection split."""

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, stats, style
from analysis.names import Names
from analysis.tidy import POINT, groups, read, rows

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

CHOSEN = "chosen"
EDGE = "chosen, at the border\nof what was tried"
FAILED = "a run failed"
SWEEP = [*POINT, "lr", "metric", "score", "status"]
SELECTED = [*POINT, "lr", "score", "edge"]


def draw(sweep: pd.DataFrame, selected: pd.DataFrame, names: Names) -> Figure:
    """One panel a task, one line a method and rank: mean over the sweep's seeds.

    The chosen rate has a ring, or a square where it is the lowest or highest of its grid, so that
    the best one may lie outside. A rate at which a run failed has a cross at the lower border.

    Parameters
    ----------
    sweep
        The tidy table `sweep`.
    selected
        Columns model, task, variant, rank, lr, score, edge; of points that were not swept too.
    """
    title = "Learning-rate sweep on the selection split"
    if sweep.empty:
        return panels.nothing(title, "No learning rate was tried.")
    figure, axes = panels.panels(sweep, title, names)
    lines = panels.line_styles(sweep, names)
    failed = sweep[sweep["status"] != "ok"].drop_duplicates([*POINT, "lr"])
    scores = stats.score_means(sweep[sweep["status"] == "ok"], [*POINT, "lr"])
    scores = scores.assign(lr=scores["lr"].astype(float)).sort_values("lr", kind="stable")
    markers = {name: look.marker for name, look in names.styles(sweep["variant"]).items()}
    for (model, task, variant, rank), curve in groups(scores, POINT):
        axes[model, task].errorbar(
            curve["lr"],
            100 * curve["mean"],
            yerr=[100 * (curve["mean"] - curve["low"]), 100 * (curve["high"] - curve["mean"])],
            marker=markers[variant],
            **lines[variant, rank],
        )
    for row in rows(selected.merge(sweep[POINT].drop_duplicates())):
        _mark(axes[row.model, row.task], row, lines[row.variant, row.rank]["color"])
    for row in rows(failed):
        panel = axes[row.model, row.task]
        panel.plot(
            float(row.lr),
            0.02,
            transform=panel.get_xaxis_transform(),
            color=lines[row.variant, row.rank]["color"],
            marker="x",
            linestyle="",
            label=FAILED,
        )
    metrics = sweep.groupby(["model", "task"])["metric"].first()
    for key, panel in axes.items():
        panel.set_xscale("log")
        panel.set_ylabel(style.percent_label(metrics[key]))
    figure.supxlabel("Learning rate", fontsize="medium")
    labels = [look["label"] for look in lines.values()]
    seeds = panels.seeds_text(scores["n"], "bars: 95 % interval")
    panels.legend(figure, [*labels, CHOSEN, EDGE, FAILED], seeds)
    return figure


def _mark(axes: Axes, chosen: Any, color: str) -> None:
    inside = chosen.edge == "none"
    axes.plot(
        float(chosen.lr),
        100 * chosen.score,
        marker="o" if inside else "s",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=color,
        markeredgewidth=1.0 if inside else 1.8,
        linestyle="",
        label=CHOSEN if inside else EDGE,
    )


if "snakemake" in globals():
    figure = draw(
        read(snakemake.input.sweep, needs=SWEEP),
        read(snakemake.input.selected, needs=SELECTED),
        Names.read(snakemake.input.names),
    )
    style.save(figure, **dict(snakemake.output.items()))
