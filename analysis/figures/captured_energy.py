"""How much of the gradient, and of its sign, an approximation of low rank keeps."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import panels, style
from analysis.names import Names
from analysis.tidy import groups, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

CURVES = {  # column -> label, colour, line
    "gradient_share": ("gradient", "#0072B2", "-"),
    "sign_share": ("sign of the gradient", "#D55E00", "--"),
}
TASK = ["model", "task"]
COLUMNS = [*TASK, "samples", "seed", "module", "rank", *CURVES]


def draw(spectra: pd.DataFrame, names: Names) -> Figure:
    """One panel a task: share of the energy in the best approximation of each rank.

    Of the gradients from the most samples: mean over adapted weights, then over seeds; the band
    goes from the lowest to the highest seed. A weight of lower full rank counts as 1 beyond it.
    """
    title = "Energy that a rank captures"
    if spectra.empty:
        return panels.nothing(title, "No spectra were measured.")
    largest = spectra[spectra["samples"] == spectra.groupby(TASK)["samples"].transform("max")]
    figure, axes = panels.panels(largest, title, names)
    for key, part in groups(largest, TASK):
        for column, (label, color, line) in CURVES.items():
            curve = panels.spread(over_weights(part, column).groupby("rank"))
            look = {"color": color, "linestyle": line, "label": label}
            panels.band(axes[key], curve.index, curve, **look)
        axes[key].set_xscale("log", base=2)
        axes[key].xaxis.set_major_formatter("{x:g}")
        axes[key].set_ylim(0.0, 1.02)
        axes[key].set_ylabel("Share of the energy")
    figure.supxlabel("Rank", fontsize="medium")
    labels = [label for label, _, _ in CURVES.values()]
    seeds = panels.seeds_text(largest.groupby(TASK)["seed"].nunique(), "band: lowest to highest")
    panels.legend(figure, labels, f"mean over the adapted weights,\n{seeds}")
    return figure


def over_weights(part: pd.DataFrame, column: str) -> pd.Series:
    """Means over the adapted weights of one task, by seed and rank.

    Ranks at which a weight was not measured are left out, unless it has no more than it.
    """
    table = part.pivot(index=["seed", "rank"], columns="module", values=column)
    full = part.groupby("module")["rank"].max()
    ranks = table.index.get_level_values("rank")
    for module, most in full.items():
        table.loc[ranks > most, module] = 1.0
    return table.dropna().mean(axis=1)


if "snakemake" in globals():
    spectra = read(snakemake.input.spectra, columns=COLUMNS)
    style.save(draw(spectra, Names.read(snakemake.input.names)), **dict(snakemake.output.items()))
