"""Score over the learning rate, on the selection split."""

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import lines, panels, stats, style
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
    """A line a task, method and rank (`analysis.lines`): mean over the sweep's seeds.

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
    drawn = lines.lines(sweep, title, names)
    failed = sweep[sweep["status"] != "ok"].drop_duplicates([*POINT, "lr"])
    scores = stats.score_means(sweep[sweep["status"] == "ok"], [*POINT, "lr"])
    scores = scores.assign(lr=scores["lr"].astype(float)).sort_values("lr", kind="stable")
    markers = {name: look.marker for name, look in names.styles(sweep["variant"]).items()}
    for key, curve in groups(scores, POINT):
        drawn.axes[key].errorbar(
            curve["lr"],
            100 * curve["mean"],
            yerr=[100 * (curve["mean"] - curve["low"]), 100 * (curve["high"] - curve["mean"])],
            marker="." if drawn.apart else markers[key[2]],
            **drawn.looks[key],
        )
    for row in rows(selected.merge(sweep[POINT].drop_duplicates())):
        _mark(drawn, row)
    for row in rows(failed):
        _cross(drawn, row)
    _name_axes(drawn, sweep)
    seeds = panels.seeds_text(scores["n"], "bars: 95 % interval")
    panels.legend(drawn.figure, [*drawn.labels, CHOSEN, EDGE, FAILED], seeds)
    return drawn.figure


def _name_axes(drawn: lines.Lines, sweep: pd.DataFrame) -> None:
    drawn.figure.supxlabel("Learning rate", fontsize="medium")
    if drawn.apart:
        labels = sweep["metric"].map(style.percent_label).unique()
        drawn.figure.supylabel(", ".join(labels), fontsize="medium")
    for row in rows(sweep.drop_duplicates(POINT)):
        panel = drawn.axes[_key(row)]
        panel.set_xscale("log")
        if not drawn.apart:
            panel.set_ylabel(style.percent_label(row.metric))


def _cross(drawn: lines.Lines, failed: Any) -> None:
    """At the lower border."""
    panel = drawn.axes[_key(failed)]
    panel.plot(
        float(failed.lr),
        0.02,
        transform=panel.get_xaxis_transform(),
        color=drawn.looks[_key(failed)]["color"],
        marker="x",
        linestyle="",
        label=FAILED,
    )


def _key(row: Any) -> lines.Point:
    return (row.model, row.task, row.variant, row.rank)


def _mark(drawn: lines.Lines, chosen: Any) -> None:
    color = drawn.looks[_key(chosen)]["color"]
    inside = chosen.edge == "none"
    drawn.axes[_key(chosen)].plot(
        float(chosen.lr),
        100 * chosen.score,
        marker="o" if inside else "s",
        markersize=6 if drawn.apart else 11,
        markerfacecolor="none",
        markeredgecolor=color,
        markeredgewidth=1.0 if inside or drawn.apart else 1.8,
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
