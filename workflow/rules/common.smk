# Validation, wildcard constraints and input functions. No rules.

import csv
import math
import os
import sys
import time
from functools import cache
from pathlib import Path

from lorasb.config.read import check, load_config, unknown
from lorasb import service
from lorasb.errors import UserError
from lorasb.provenance import versions_line
from lorasb.study import compared, hashes, memory, paths, released
from lorasb.study.read import path_of_table
from lorasb.study.rates import all_chosen, at_an_edge, selected_rates_path
from lorasb.study.study import Study, refuse_foreign
from snakemake.exceptions import WorkflowError
from terminal import take_over  # beside this file
from snakemake.logging import logger


def checked(function, *arguments):
    """Call a function of lorasb; what the user can mend is one line, not a traceback."""
    try:
        return function(*arguments)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def checked_at_once(function, *arguments):
    """`checked` while the workflow is read: the line alone, without where this file calls it."""
    try:
        return function(*arguments)
    except UserError as error:
        sys.exit(f"error: {error}")


# Snakemake would keep the last of two values of a key, and show a traceback for a damaged file
checked_at_once(load_config)


configfile: "config/config.yaml"


checked_at_once(check, config, "config", "config/config.yaml or --config")

STUDY = checked_at_once(Study.load, config["study"])
# Snakemake drops what an input function raises where its outputs exist, and tells a workflow its targets
# after this. Only a sweep can do without learning rates; jobs in a process of their own were checked.
SWEEPS = any(word == "sweep" or word.endswith("selected_lr.tsv") for word in sys.argv)
if workflow.is_main_process:
    take_over(logger, workflow.output_settings)
    for word in sys.argv:
        checked_at_once(refuse_foreign, os.path.relpath(word))
    if SWEEPS:
        notes = (
            []
            if checked_at_once(lambda: STUDY.points_to_sweep)
            else [all_chosen(STUDY.name)]
        )
    else:
        checked_at_once(lambda: STUDY.cells)
        path = selected_rates_path(STUDY.name)
        notes = [
            checked_at_once(released.note, STUDY),
            *(f"{path}: {line}" for line in at_an_edge(STUDY.committed_rates.values())),
        ]
    for note in filter(None, [*notes, versions_line()]):
        logger.warning(note)
PAPER = "analysis/paper.csv"
AVAILABLE = "--available" if config.get("on_failure") == "report" else ""
TASK_FLAGS = "--study {study} --model {model} --task {task}"
CELL_FLAGS = (
    f"{TASK_FLAGS} --variant {{variant}} --rank {{rank}} --lr {{lr}} --seed {{seed}}"
)
# `train_and_predict` and the pair `train`, `predict` write the same files: each study has one way
TOGETHER = (
    "|".join(checked_at_once(compared.studies_that_predict_with_training)) or "none"
)
# GPUs are given to jobs where a profile or --resources has some
GPUS = any(
    "gpu" in resources
    for resources in (
        workflow.global_resources,
        *workflow.resource_settings.overwrite_resources.values(),
    )
)
if GPUS:
    shell.prefix("export LORASB_GPU=1; ")
APART = f"(?!({TOGETHER})/)[a-z0-9][a-z0-9.-]*"

WHOLE = "0|[1-9][0-9]*"


wildcard_constraints:
    study="[a-z0-9][a-z0-9.-]*",
    model="[a-z0-9][a-z0-9.-]*",
    task="[a-z0-9][a-z0-9.-]*",
    variant="[a-z0-9][a-z0-9.-]*",
    rank=WHOLE,
    lr=r"0|[1-9](\.[0-9]*[1-9])?e-[0-9]+",
    samples=WHOLE,
    seed=WHOLE,
    split="test|selection",


def study_of(wildcards):
    """The study that a path names."""
    return checked(Study.load, wildcards.study)


@cache
def cell_named(study, *coordinates):
    """The cell of a study with these names and values; each job asks several times."""
    named = dict(coordinates)
    return checked(lambda: Study.load(study).cell(**named))


def cell_of(wildcards):
    """The cell that a path names."""
    return cell_named(wildcards.study, *wildcards.items())


def hash_of(function, *names):
    """The `params:` function of a hash of the study and of some wildcards."""

    def found(wildcards):
        values = dict(wildcards) | {"samples": int(wildcards.get("samples", 0))}
        own = [values[name] for name in names]
        return checked(function, study_of(wildcards), *own)

    return found


def memory_of(form, *names):
    """`resources:` by a closed form of `lorasb.study.memory`, of wildcards or of a cell."""

    def needed(wildcards):
        own = [
            cell_of(wildcards) if name == "cell" else wildcards[name] for name in names
        ]
        return checked(form, study_of(wildcards), *own)

    def mem_mb(wildcards):
        return math.ceil(needed(wildcards).of_host(gpu=GPUS) / 1e6)

    def gpu(wildcards):
        return int(needed(wildcards).device > 0)

    return {"mem_mb": mem_mb, "gpu": gpu} if GPUS else {"mem_mb": mem_mb}


def get_cell_hash(wildcards):
    """Changes when the trained weights of the cell would."""
    return checked(hashes.cell_hash, study_of(wildcards), cell_of(wildcards))


def models_of_paper():
    """The models whose scores in the paper are known."""
    with open(PAPER, encoding="utf-8", newline="") as file:
        return {row["model"] for row in csv.DictReader(file)}


def get_model(wildcards):
    """What is written of a model that is fetched and converted first; of others nothing."""
    fetched = study_of(wildcards).models[wildcards.model].is_gguf
    return [f"{paths.MODEL}/model.json"] if fetched else []


def get_training_inputs(wildcards):
    """The training split, and the gradient or factors that the cell's method needs."""
    study, cell = study_of(wildcards), cell_of(wildcards)
    needs = study.variants[cell.variant].method.needs
    return [
        str(cell.path(paths.DATA) / "train.parquet"),
        str(cell.split_path),
        *(str(study.start_file(cell, need)) for need in sorted(needs)),
    ]


def existing(files):
    """All files, or with `on_failure: report` those of the cells that are there."""
    return [file for file in files if not AVAILABLE or Path(file).exists()]


def cells_of(wildcards, split):
    """The cells of one model and task of a study."""
    study = study_of(wildcards)
    return checked(study.cells_of, wildcards.model, wildcards.task, split)


def pairs_of(cells):
    """The models and tasks of some cells, each pair once."""
    return dict.fromkeys((cell.model, cell.task) for cell in cells)


def get_predictions(wildcards):
    """Predictions of all cells of one task and split."""
    return existing(
        str(cell.folder / "predictions.jsonl")
        for cell in cells_of(wildcards, wildcards.split)
    )


def get_snapshots(wildcards):
    """Kept updates of all cells of one task."""
    return existing(
        str(cell.folder / "snapshots.safetensors")
        for cell in cells_of(wildcards, "test")
    )


def record_of(table):
    """The record of a table that is written on its own."""
    return table.replace(".csv", ".record.json")


def get_gradients(wildcards):
    """The gradients that cells of one task start from, where the study compares them."""
    names = study_of(wildcards), wildcards.model, wildcards.task
    return [
        paths.STARTS["gradient"].format(**dict(wildcards), samples=samples, seed=seed)
        for samples, seed in checked(compared.gradients, *names)
    ]


def get_scores(split):
    """An input function: the scores of a study on one split, of all tasks that have cells there."""

    def files(wildcards):
        study = study_of(wildcards)
        pattern = f"{paths.SCORES}/{split}.metrics.csv"
        pairs = pairs_of(checked(study.scored_cells, split))
        return [str(study.folder(pattern, *pair)) for pair in pairs]

    return files


def get_released(wildcards):
    """The table that says which cells a release has, where the study takes some from one."""
    study = study_of(wildcards)
    if study.released is None:
        return []
    folder = checked(released.released_tables, study)
    return [str(path_of_table(folder, "origins"))]


def results_of(split, tidy):
    """An input function: what the study's cells of a split come from and lead to, up to rule `tidy`."""

    def files(wildcards):
        cells = checked(STUDY.scored_cells, split)
        starts = {start for cell in cells for start in STUDY.start_files(cell)}
        of_cell = ["train.record.json", "predict.record.json", "predictions.jsonl"]
        of_task = [f"{paths.DATA}/record.json", *rules.score.output]
        if split == "test":
            of_task += [*rules.probe_directions.output, *rules.measure_spectra.output]
        return [
            *existing(str(start.with_name("record.json")) for start in sorted(starts)),
            *existing(str(cell.folder / name) for cell in cells for name in of_cell),
            *(
                str(STUDY.folder(pattern.replace("{split}", split), *pair))
                for pair in pairs_of(cells)
                for pattern in of_task
            ),
            *(expand(getattr(rules, tidy).output, study=STUDY.name) if cells else []),
        ]

    return files


BEGAN = time.time()
SERVICE = []  # ends when nothing holds it


def start_service():
    """Jobs of this machine find torch imported; others, and those without the service, import it."""
    SERVICE.append(service.start(Path("logs/service.log")))


def after_failure():
    """What a failed run says last: where the reasons stand, and what can be done."""
    yield "Each failed job's reason is in its log, which is named above."
    cells = STUDY.scored_cells("selection" if SWEEPS else "test")
    failed = [path for c in cells if (path := c.path(paths.FAILED)).exists()]
    if failed:
        target = "sweep " if SWEEPS else ""
        yield f"{len(failed)} of {len(cells)} cells failed; each says why in its failed.json: {failed[0]}"
        yield (
            "Once that is mended, the same command goes on. For tables without those cells: snakemake "
            f"--cores all {target}--config study={STUDY.name} on_failure=report"
        )


def after_success():
    """What a run that ended well says last: its table and the files to open."""
    tables = Path(paths.TABLES.format(study=STUDY.name))
    if SWEEPS:
        yield (
            f"Read {tables}/selected_lr.tsv, then copy it to {selected_rates_path(STUDY.name)}"
        )
    page = Path(paths.PAGE.format(study=STUDY.name))
    if page.exists() and page.stat().st_mtime > BEGAN:
        yield f"\n{(tables / 'accuracy.md').read_text(encoding='utf-8')}"
        yield f"  {page}: the answer, a budget, every table and figure"
        yield f"  {tables}, {paths.FIGURES.format(study=STUDY.name)}: each of them as a file"


def figures_of_sweep(wildcards):
    """The figures of the sweep, where a rate is left to choose."""
    left = checked(lambda: STUDY.points_to_sweep)
    names = wanted(FIGURE_ROWS, {"sweep"}) if left else []
    return expand(f"{paths.FIGURES}/{{name}}.png", study=STUDY.name, name=names)


def of_all_tasks(pattern):
    """An input function: the files of a pattern, one for each model and task of a study."""

    def files(wildcards):
        study = study_of(wildcards)
        return [str(study.folder(pattern, *pair)) for pair in study.pairs]

    return files
