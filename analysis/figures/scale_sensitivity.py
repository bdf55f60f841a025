"""What the scale s does to the score and to the size of the update, by optimizer."""

import json
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, stats, style, variations
from analysis.names import Names
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD"}
DIRECTIONS = [*POINT, "seed", "step", "update_norm"]


def draw(runs: pd.DataFrame, directions: pd.DataFrame, names: Names) -> Figure:
    """First row of panels: score over s; second: size of the update; one column a task.

    One line for variants of a method that differ in s alone, so one an optimizer. Size: norm of the
    change of an adapted weight up to the last step, mean over weights, as a ratio to that of the
    same seed and line at s = 1. Points are means over seeds, bars 95 % t intervals.

    Parameters
    ----------
    runs
        The columns `variations.RUNS` of the tidy table.
    directions
        The columns `DIRECTIONS` of the tidy table; where it has none of the runs there is no second
        row.
    """
    title = "Score and size of the update over the scale s"
    chosen = variations.with_scores(variations.varied(runs, "scaling", names))
    scores = variations.percent_scores(chosen, [*variations.LINE, "value"])
    if scores.empty:
        return panels.nothing(title, "No two variants differ in s alone.")
    sizes = stats.means(relative_sizes(chosen, directions), [*variations.LINE, "value"], "ratio")
    looks = variations.looks(chosen, names)
    for (line, rank), look in looks.items():
        look["label"] = _label(chosen, line, rank, names)
    figure, rows = variations.rows(1 if sizes.empty else 2, panels.tasks(chosen), title, names)
    variations.draw_lines(rows[0], scores, looks)
    variations.label_scores(rows[0], chosen)
    if not sizes.empty:
        variations.draw_lines(rows[1], sizes, looks)
        for axes in rows[1].values():
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
        next(iter(rows[1].values())).set_ylabel("Size of the update,\nrelative to s = 1")
    values = sorted(set(chosen["value"]))
    for axes in figure.axes:
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:g}" for value in values])
    figure.supxlabel("Scale s", fontsize="medium")
    labels = [look["label"] for look in looks.values()]
    panels.legend(figure, labels, panels.seeds_text(scores["n"], "bars: 95 % interval"))
    return figure


def relative_sizes(chosen: pd.DataFrame, directions: pd.DataFrame) -> pd.DataFrame:
    """`ratio` of each cell's last update to that at s = 1 of the same line, rank and seed."""
    cell = [*POINT, "seed"]
    last = directions[directions["step"] == directions.groupby(cell)["step"].transform("max")]
    norms = last.groupby(cell, sort=False)["update_norm"].mean().reset_index()
    sizes = chosen[[*cell, "line", "value"]].merge(norms, on=cell)
    keys = [*variations.LINE, "seed"]
    unit = sizes[sizes["value"] == 1].rename(columns={"update_norm": "unit"})
    sizes = sizes.merge(unit[[*keys, "unit"]], on=keys)
    return sizes.assign(ratio=sizes["update_norm"] / sizes["unit"])


def _label(chosen: pd.DataFrame, line: str, rank: int, names: Names) -> str:
    found = json.loads(chosen.loc[chosen["line"] == line, "arguments"].iloc[0])
    optimizer = OPTIMIZERS[found.get("optimizer", "adamw")]
    name = names.label(line)
    name = name if optimizer in name else f"{name}, {optimizer}"
    return f"{name}, r = {rank}" if rank else name


if "snakemake" in globals():
    figure = draw(
        read(snakemake.input.runs, columns=variations.RUNS),
        read(snakemake.input.directions, columns=DIRECTIONS),
        Names.read(snakemake.input.names),
    )
    style.save(figure, **dict(snakemake.output.items()))
