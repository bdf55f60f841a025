# Validation, wildcard constraints and input functions. No rules.

import csv
from pathlib import Path

from lorasb.config import read as lorasb_config
from lorasb import grid
from lorasb import resolve
from lorasb.errors import UserError
from lorasb.methods.registry import variant_method
from snakemake.exceptions import WorkflowError


def checked(function, *arguments):
    """Call a function of lorasb; what the user can mend is one line, not a traceback."""
    try:
        return function(*arguments)
    except UserError as error:
        raise WorkflowError(str(error)) from None


checked(lorasb_config.check, config, "config", "config/config.yaml or --config")

STUDY = config["study"]
PAPER = "analysis/paper.csv"
AVAILABLE = "--available" if config.get("on_failure") == "report" else ""
TASK_FLAGS = "--study {study} --model {model} --task {task}"
CELL_FLAGS = (
    f"{TASK_FLAGS} --variant {{variant}} --rank {{rank}} --lr {{lr}} --seed {{seed}}"
)
checked(resolve.check_study, STUDY)
# the studies whose training processes also predict, and all others
TOGETHER = "|".join(checked(resolve.studies_that_predict_with_training)) or "none"
APART = f"(?!({TOGETHER})/)[a-z0-9][a-z0-9.-]*"


wildcard_constraints:
    study="[a-z0-9][a-z0-9.-]*",
    model="[a-z0-9][a-z0-9.-]*",
    task="[a-z0-9][a-z0-9.-]*",
    variant="[a-z0-9][a-z0-9.-]*",
    rank="[0-9]+",
    lr=r"0|[1-9](\.[0-9]*[1-9])?e-[0-9]+",
    samples="[0-9]+",
    seed="[0-9]+",
    split="test|selection",


def cell_of(wildcards):
    """The cell that a path names."""
    values = {name: getattr(wildcards, name) for name in ("study", *grid.COLUMNS)}
    return grid.Cell(
        **values | {"rank": int(wildcards.rank), "seed": int(wildcards.seed)}
    )


def get_cell_hash(wildcards):
    """Changes when the trained weights of the cell would."""
    return checked(resolve.cell_hash, cell_of(wildcards))


def get_stale_rates(wildcards):
    """The points whose learning rate was selected under other settings."""
    return checked(resolve.stale_rates, wildcards.study)


def models_of_paper():
    """The models whose scores in the paper are known."""
    with open(PAPER, encoding="utf-8", newline="") as file:
        return {row["model"] for row in csv.DictReader(file)}


def get_training_inputs(wildcards):
    """The training split, and the gradient or factors that the cell's method needs."""
    cell = cell_of(wildcards)
    needs = checked(variant_method, cell.variant).needs
    data = cell.path(grid.DATA)
    inputs = [data / "train.parquet", data / f"{cell.split}.parquet"]
    if "gradient" in needs:
        folder = checked(resolve.gradient_path, cell, grid.GRADIENT)
        inputs.append(folder / "gradient.safetensors")
    if "gradient_factors" in needs:
        folder = checked(resolve.gradient_path, cell, grid.GRADIENT_FACTORS)
        inputs.append(folder / "factors.safetensors")
    if "weight_factors" in needs:
        inputs.append(cell.path(grid.WEIGHT_FACTORS) / "factors.safetensors")
    return [str(path) for path in inputs]


def existing(paths):
    """All paths, or with `on_failure: report` those of the cells that are there."""
    return [path for path in paths if not AVAILABLE or Path(path).exists()]


def get_predictions(wildcards):
    """Predictions of all cells of one task and split."""
    return existing(
        str(cell.folder / "predictions.jsonl")
        for cell in checked(grid.scored_cells, wildcards.study, wildcards.split)
        if (cell.model, cell.task) == (wildcards.model, wildcards.task)
    )


def get_snapshots(wildcards):
    """Kept updates of all cells of one task."""
    return existing(
        str(cell.folder / "snapshots.safetensors")
        for cell in checked(grid.final_cells, wildcards.study)
        if (cell.model, cell.task) == (wildcards.model, wildcards.task)
    )


def get_gradients(wildcards):
    """The gradients that cells of one task start from, where the study compares them."""
    names = wildcards.study, wildcards.model, wildcards.task
    return [
        f"{grid.GRADIENT}/gradient.safetensors".format(
            **dict(wildcards), samples=samples, seed=seed
        )
        for samples, seed in checked(resolve.gradients, *names)
    ]


def get_scores(split):
    """An input function: the scores of all tasks of a study on one split."""

    def scores(wildcards):
        found = checked(grid.scored_cells, wildcards.study, split)
        return sorted(
            {str(cell.path(grid.SCORES) / f"{split}.metrics.csv") for cell in found}
        )

    return scores


def of_all_tasks(pattern):
    """An input function: the files of a pattern, one for each model and task of a study."""

    def files(wildcards):
        cells = checked(grid.final_cells, wildcards.study)
        return sorted({str(cell.path(pattern)) for cell in cells})

    return files
