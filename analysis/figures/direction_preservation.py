"""How well a method's update keeps the direction of full fine-tuning's, along training."""

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.tidy import POINT, groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COLUMNS = [*POINT, "seed", "step", "cosine", "random", "random_high", "best_rank"]
CEILING = "best of this rank"
FLOOR = "random basis of this rank\n(mean; shaded up to 97.5 %)"


def draw(directions: pd.DataFrame) -> Figure:
    """One row of panels a rank, one column a task; one line a method.

    Lines: cosine between the method's update so far and full fine-tuning's, mean over adapted
    weights, then over seeds; the band goes from the lowest to the highest seed. Dashed: the best
    approximation of full's update of this rank. Shaded: what a random basis of this rank reaches.
    """
    title = "Direction of the update against full fine-tuning's"
    if directions.empty:
        return panels.nothing(title, "No directions were measured.")
    curves = over_seeds(over_modules(directions))
    looks = style.styles(directions["variant"])
    tasks = list(directions[["model", "task"]].drop_duplicates().itertuples(index=False, name=None))
    models = [model for model, _ in tasks]
    ranks = sorted(set(directions["rank"]))
    figure = panels.new_figure(len(ranks), len(tasks), title)
    grid = figure.subplots(len(ranks), len(tasks), sharex="col", sharey=True, squeeze=False)
    for (rank, model, task), part in groups(curves, ["rank", "model", "task"]):
        _draw_panel(grid[ranks.index(rank), tasks.index((model, task))], part, looks)
    for axes, key in zip(grid[0], tasks, strict=True):
        axes.set_title(panels.panel_title(*key, models=models))
    for axes, rank in zip(grid[:, 0], ranks, strict=True):
        axes.set_ylabel(f"Cosine, rank {rank}")
    figure.supxlabel("Optimizer step", fontsize="medium")
    seeds = directions.groupby(POINT)["seed"].nunique()
    panels.legend(
        figure,
        [*map(style.label, looks), CEILING, FLOOR],
        f"mean over the adapted weights,\n{panels.seeds_text(seeds, 'band: lowest to highest')}",
    )
    return figure


def over_modules(directions: pd.DataFrame) -> pd.DataFrame:
    """Mean over the adapted weights of each cell and step."""
    keys = [*POINT, "seed", "step"]
    return directions.groupby(keys)[["cosine", "random", "random_high", "best_rank"]].mean()


def over_seeds(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds at each step, and the lowest and highest cosine."""
    seeds = cells.groupby([*POINT, "step"])
    spread = seeds["cosine"].agg(low="min", high="max")
    return seeds.mean().join(spread).reset_index()


def _draw_panel(axes: Axes, part: pd.DataFrame, looks: dict[str, Any]) -> None:
    # floor and ceiling depend on the rank, not on the method
    bounds = part.groupby("step")[["random", "random_high", "best_rank"]].mean()
    axes.fill_between(bounds.index, 0, bounds["random_high"], color="#dddddd", linewidth=0)
    axes.plot(bounds.index, bounds["random"], color=style.CONTROL, linestyle=":", label=FLOOR)
    axes.plot(bounds.index, bounds["best_rank"], color=style.CONTROL, linestyle="--", label=CEILING)
    for variant in style.ordered(part["variant"]):
        curve, look = part[part["variant"] == variant], looks[variant]
        axes.plot(
            curve["step"],
            curve["cosine"],
            color=look.color,
            linestyle=look.line,
            marker=look.marker,
            label=style.label(variant),
        )
        axes.fill_between(
            curve["step"], curve["low"], curve["high"], color=look.color, alpha=0.15, linewidth=0
        )
    axes.set_ylim(top=1.0)


if "snakemake" in globals():
    measured = read(snakemake.input.directions, columns=COLUMNS)
    style.save(draw(measured), snakemake.output.pdf, snakemake.output.png)
