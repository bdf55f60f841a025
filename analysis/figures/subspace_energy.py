"""How much of the full gradient lies in the subspace that a method fixed, along training."""

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import along_training, panels, style
from analysis.names import Names
from analysis.tidy import POINT, read

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

CEILING = "best subspace of this rank"
FLOOR = "random subspace of this rank\n(mean; shaded: 95 % range)"
SQUARED = {  # cosine with a projection -> share of the energy inside
    "optimum_cosine": "optimum_share",
    "random_cosine": "random_share",
    "random_low": "random_share_low",
    "random_high": "random_share_high",
}
MEASURE = along_training.Measure(
    "subspace_share",
    "Share",
    ("random_share_low", "random_share_high"),
    [
        along_training.Control("random_share", FLOOR, ":"),
        along_training.Control("optimum_share", CEILING, "--"),
    ],
)
COLUMNS = [*POINT, "seed", "step", "subspace_share", *SQUARED]


def draw(gradients: pd.DataFrame, names: Names) -> Figure:
    """One row of panels a rank, one column a task; one line a method with fixed bases.

    Shares are on a logarithmic axis.
    """
    title = "Energy of the gradient inside the fixed subspace"
    fixed = gradients[gradients["subspace_share"].notna()]
    if fixed.empty:
        return panels.nothing(title, "No method has a fixed subspace.")
    shares = fixed.assign(**{share: fixed[name] ** 2 for name, share in SQUARED.items()})
    cells = along_training.cell_means(shares, MEASURE.columns)
    figure = along_training.rank_grid(cells, MEASURE, title, names, log=True)
    for axes in figure.axes:
        axes.set_yscale("log")
        axes.set_ylim(top=1.0)
    return figure


if "snakemake" in globals():
    measured = read(snakemake.input.gradients, columns=COLUMNS)
    style.save(draw(measured, Names.read(snakemake.input.names)), **dict(snakemake.output.items()))
