"""What noise in the step that LoRA-SB starts from does to its subspace and its score."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, stats, style, variations
from analysis.names import Names
from analysis.tidy import POINT, groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

PLAIN = "lora-sb"  # the variant without noise
ONLY = "only\nnoise"
CEILING = "best subspace"
FLOOR = "random subspace"
MARKS = {"optimum_cosine": (CEILING, "--"), "random_cosine": (FLOOR, ":")}
GRADIENTS = [*POINT, "seed", "step", "subspace_share", *MARKS]


def draw(runs: pd.DataFrame, gradients: pd.DataFrame, names: Names) -> Figure:
    """First row of panels: energy inside the bases at step 0; second: score; one column a task.

    Noise is in units of the step's entries, eta; no noise and only noise stand at the ends of its
    logarithmic axis. Points are means over seeds, bars 95 % t intervals.

    Parameters
    ----------
    runs
        The columns `variations.RUNS` of the tidy table.
    gradients
        The columns `GRADIENTS` of the tidy table; where it has none of the runs there is no such
        row.
    """
    title = "Noise in the step that the bases are taken from"
    chosen = variations.with_scores(with_levels(runs))
    if chosen.empty:
        return panels.nothing(title, "No variant has noise.")
    places = level_places(chosen["level"])
    chosen = chosen.assign(value=chosen["level"].map(places), line=PLAIN)
    keys = [*variations.LINE, "value"]
    scores = variations.percent_scores(chosen, keys)
    start = _start(chosen, gradients)
    shares = stats.means(start, keys, "subspace_share")
    looks = variations.looks(chosen, names)
    figure, rows = variations.rows(1 if shares.empty else 2, panels.tasks(chosen), title, names)
    variations.draw_lines(rows[-1], scores, looks)
    variations.label_scores(rows[-1], chosen)
    if not shares.empty:
        variations.draw_lines(rows[0], shares, looks)
        _mark(rows[0], start)
    for axes in figure.axes:
        axes.set_xticks(list(places.values()), [_level_text(level) for level in places])
    figure.supxlabel("Noise, in units of the step's entries", fontsize="medium")
    ranks = sorted(set(chosen["rank"]))
    marks = [_mark_label(label, rank) for label, _ in MARKS.values() for rank in ranks]
    labels = [*(look["label"] for look in looks.values()), *marks]
    panels.legend(figure, labels, panels.seeds_text(scores["n"], "bars: 95 % interval"))
    return figure


def with_levels(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with noise and those of `PLAIN`, with `level`: noise over signal, inf without one.

    Ranks and tasks that have no noise are left out.
    """
    noise, signal = (variations.argument(runs, name) for name in ("noise", "signal"))
    levels = noise / signal.replace(0.0, np.nan)
    levels = levels.mask(signal == 0, np.inf).mask(runs["variant"] == PLAIN, 0.0)
    table = runs.assign(level=levels).dropna(subset=["level"])
    noisy = table.groupby(["model", "task", "rank"])["level"].transform("max") > 0
    return table[noisy]


def level_places(levels: pd.Series) -> dict[float, float]:
    """Where each level stands: its logarithm; none and only noise stand a unit beyond the ends."""
    found = sorted(set(levels))
    finite = [np.log10(level) for level in found if 0 < level < np.inf] or [0.0]
    ends = {0.0: min(finite) - 1, np.inf: max(finite) + 1}
    return {level: float(ends.get(level, np.log10(level or 1))) for level in found}


def _start(chosen: pd.DataFrame, gradients: pd.DataFrame) -> pd.DataFrame:
    """Means over the adapted weights at step 0, a row a cell; marks as shares, not cosines."""
    cell = [*POINT, "seed"]
    first = gradients[gradients["step"] == 0].dropna(subset=["subspace_share"])
    first = first.assign(**{name: first[name] ** 2 for name in MARKS})
    means = first.groupby(cell, sort=False)[["subspace_share", *MARKS]].mean().reset_index()
    return chosen[[*cell, "line", "value"]].merge(means, on=cell)


def _mark(row: variations.Row, start: pd.DataFrame) -> None:
    """The best and a random subspace of the rank; the same for all levels, whose mean is drawn."""
    for (model, task, rank), cells in groups(start, ["model", "task", "rank"]):
        axes = row[model, task]
        for column, (label, line) in MARKS.items():
            axes.axhline(
                cells[column].mean(),
                color=style.CONTROL,
                linestyle=line,
                label=_mark_label(label, rank),
            )
        axes.set_yscale("log")
        axes.set_ylim(top=1.0)
    next(iter(row.values())).set_ylabel("Share of the gradient's\nenergy in the bases")


def _mark_label(label: str, rank: int) -> str:
    return f"{label} of rank {rank}"


def _level_text(level: float) -> str:
    return ONLY if level == np.inf else f"{level:g}"


if "snakemake" in globals():
    figure = draw(
        read(snakemake.input.runs, columns=variations.RUNS),
        read(snakemake.input.gradients, columns=GRADIENTS),
        Names.read(snakemake.input.names),
    )
    style.save(figure, **dict(snakemake.output.items()))
