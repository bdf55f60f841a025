"""How many training samples the gradient needs: overlap of subspaces, and score."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, style, variations
from analysis.names import Names
from analysis.tidy import groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

SIDES = ["left_overlap", "right_overlap"]
SPECTRA = ["model", "task", "samples", "seed", "rank", *SIDES]
BARS = "bars: 95 % interval"
OVERLAP = "Overlap with the largest\nestimates of other seeds"


def draw(runs: pd.DataFrame, spectra: pd.DataFrame, names: Names) -> Figure:
    """First row of panels: overlap over the number of samples; second: score; one column a task.

    Overlap: of the top singular subspaces, at the method's rank, of the sign of the gradient with
    those from the most samples of the other seeds; mean of left and right and over the adapted
    weights. Lines are means over seeds, the band goes from the lowest to the highest seed.
    Scores are means over seeds, bars 95 % t intervals.

    Parameters
    ----------
    runs
        The columns `variations.RUNS` of the tidy table.
    spectra
        The columns `SPECTRA` of the tidy table; where it has no overlaps there is no such row.
    """
    title = "Subspace and score over the samples of the gradient"
    chosen = variations.with_scores(variations.varied(runs, "samples", names))
    scores = variations.percent_scores(chosen, [*variations.LINE, "value"])
    if scores.empty:
        return panels.nothing(title, "No two variants differ in the number of samples alone.")
    shared = overlaps(chosen, spectra)
    looks = variations.looks(chosen, names)
    figure, rows = variations.rows(1 if shared.empty else 2, panels.tasks(chosen), title, names)
    variations.draw_lines(rows[-1], scores, looks)
    variations.label_scores(rows[-1], chosen)
    for (model, task, line, rank), curve in groups(shared, variations.LINE):
        panels.band(rows[0][model, task], curve["samples"], curve, **looks[line, rank])
        rows[0][model, task].set_ylim(0.0, 1.02)
    if not shared.empty:
        next(iter(rows[0].values())).set_ylabel(OVERLAP)
    for axes in figure.axes:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    figure.supxlabel("Training samples of the gradient", fontsize="medium")
    labels = [look["label"] for look in looks.values()]
    spread = BARS if shared.empty else f"{BARS},\nband: lowest to highest"
    panels.legend(figure, labels, panels.seeds_text(scores["n"], spread))
    return figure


def overlaps(chosen: pd.DataFrame, spectra: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest overlap over seeds of each line, rank and number of samples."""
    sides = spectra.assign(overlap=spectra[SIDES].mean(axis=1)).dropna(subset=["overlap"])
    keys = ["model", "task", "samples", "rank"]
    seeds = sides.groupby([*keys, "seed"])["overlap"].mean().groupby(keys)
    shared = panels.spread(seeds).reset_index()
    return chosen[variations.LINE].drop_duplicates().merge(shared, on=["model", "task", "rank"])


if "snakemake" in globals():
    figure = draw(
        read(snakemake.input.runs, columns=variations.RUNS),
        read(snakemake.input.spectra, columns=SPECTRA),
        Names.read(snakemake.input.names),
    )
    style.save(figure, **dict(snakemake.output.items()))
