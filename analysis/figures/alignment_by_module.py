"""Where in the model a method's step follows full fine-tuning's: layer by type of weight."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.names import Names
from analysis.tidy import POINT, groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

COLUMNS = [*POINT, "module", "equivalent_cosine"]
COLORS = "cividis"  # its lightness rises with the value, so that grey print reads


def draw(gradients: pd.DataFrame, names: Names) -> Figure:
    """One row of panels a method and rank, one column a task; one cell a weight.

    Colour: cosine between the method's gradient step and the full gradient, mean over kept steps
    and seeds, from the lowest to the highest of the figure.
    """
    title = "Direction of the gradient step against full fine-tuning's, by weight"
    ranked = gradients[gradients["rank"] > 0]
    if ranked.empty:
        return panels.nothing(title, "No gradients were measured.")
    means = with_places(
        ranked.groupby([*POINT, "module"], sort=False)["equivalent_cosine"].mean().reset_index()
    )
    points = panels.points(means, names)
    tasks = panels.tasks(means)
    figure = panels.new_figure(len(points), len(tasks), title)
    grid = figure.subplots(len(points), len(tasks), squeeze=False)
    limits = {"vmin": means["equivalent_cosine"].min(), "vmax": means["equivalent_cosine"].max()}
    for (model, task, variant, rank), part in groups(means, POINT):
        axes = grid[points.index((variant, rank)), tasks.index((model, task))]
        table = part.pivot(index="kind", columns="layer", values="equivalent_cosine")
        table = table.loc[list(dict.fromkeys(part["kind"]))]
        image = axes.imshow(table, aspect="auto", cmap=COLORS, **limits)
        axes.set_xticks(range(table.shape[1]), table.columns)
        axes.set_yticks(range(table.shape[0]), table.index, fontsize="small")
        axes.grid(visible=False)
        if len({model for model, _ in tasks}) == 1:
            axes.label_outer()
    panels.title_panels(grid[0], tasks, names)
    for axes, point in zip(grid[:, 0], points, strict=True):
        axes.set_ylabel(names.label(*point))
    figure.supxlabel("Layer", fontsize="medium")
    figure.colorbar(image, ax=list(grid.flat), label="Cosine", shrink=0.6)
    return figure


def with_places(means: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns `layer`, the first number in the weight's name, and `kind`.

    `kind` is the rest of the name after the number. A name without a number is a kind of its own.
    """
    weights = pd.Series(means["module"].unique())
    parts = weights.str.extract(r"^.*?\.(?P<layer>\d+)\.(?P<kind>.+)$").set_index(weights)
    kinds = parts["kind"].fillna(parts.index.to_series())
    layers = parts["layer"].fillna("0").astype(int)
    return means.assign(layer=means["module"].map(layers), kind=means["module"].map(kinds))


if "snakemake" in globals():
    measured = read(snakemake.input.gradients, columns=COLUMNS)
    style.save(draw(measured, Names.read(snakemake.input.names)), **dict(snakemake.output.items()))
