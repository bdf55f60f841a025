"""What snakemake plans, without running any of it."""

from __future__ import annotations

import math
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from lorasb.config.read import names
from lorasb.study import memory
from lorasb.study.rates import selected_rates_path
from lorasb.study.study import Study
from tests.workflow.conftest import ROOT, copy_project, planned, refusal, snakemake

CELLS = 7  # of the study `tiny`


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("plans") / "project")


# what is wrong with the cells of a study, whether or not it has results
WRONG_CELLS = [
    ("config/studies/tiny.yaml", ', lora-sb: "1e-2"}', "}", "learning_rates has no 'lora-sb'"),
    ("config/studies/tiny.yaml", "seeds: [100]", "seeds: [0]", "sweep.seeds has 0"),
]


def test_workflow_is_lint_clean():
    done = snakemake(ROOT, "--lint")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("study", names("studies"))
def test_every_study_plans_its_cells_and_no_others(fresh, study):
    done = snakemake(fresh, "--dry-run", "--config", f"study={study}")
    jobs, read = planned(done), Study(study)
    assert jobs.get("train", 0) + jobs.get("train_and_predict", 0) == len(read.cells)
    needs = {cell: read.variants[cell.variant].method.needs for cell in read.cells}
    starts = {
        need: {read.start_file(cell, "gradient") for cell in read.cells if need in needs[cell]}
        for need in ("gradient", "gradient_factors")
    }
    activations = {
        read.start_file(cell, "activations") for cell in read.cells if "activations" in needs[cell]
    }
    weights = {cell.model for cell in read.cells if "weight_factors" in needs[cell]}
    gradients = starts["gradient"] | starts["gradient_factors"]
    assert jobs["estimate_gradient"] == len(gradients)
    assert jobs["factorize_gradient"] == len(starts["gradient_factors"])
    assert jobs.get("estimate_activations", 0) == len(activations)
    assert jobs.get("factorize_weights", 0) == len(weights)


# three seeds of full, of five baselines at one rank, of LoRA-XS and LoRA-SB at three; base once
PER_TASK = 3 * (1 + 5 + 2 * 3) + 1


@pytest.mark.parametrize(
    ("study", "tasks"),
    [
        ("paper-arithmetic-mistral", 1),
        ("paper-arithmetic-gemma", 1),
        ("paper-commonsense-llama", 1),
        ("paper-glue-roberta", 6),
    ],
)
def test_studies_of_the_paper_have_all_its_cells(study, tasks):
    assert PER_TASK == 37
    for name in (study, f"{study}-authors"):
        assert len(Study(name).cells) == tasks * PER_TASK


def test_tables_and_figures_are_those_that_the_study_has_something_for(tmp_path):
    root = copy_project(tmp_path / "project")
    jobs = planned(snakemake(root, "--dry-run"))
    assert {"table_prepared_data", "plot_captured_energy"} <= set(jobs)
    special = {"table_accuracy_by_set", "table_paper", "plot_scale_sensitivity"}
    special |= {"plot_gradient_samples", "plot_noise_level"}
    assert not special & set(jobs)
    path = root / "config/studies/tiny.yaml"
    text = path.read_text().replace("quickstart-llama", "mistral-7b")
    text = text.replace("[sentences]", "[metamath]")
    names = ["lora-sb-s4", "lora-sb-n5", "lora-sb-noise1", "lora-sb-random"]
    variants = "".join(f"  {name}: {{ranks: [2]}}\n" for name in names)
    rates = "".join(f', {name}: "1e-2"' for name in names)
    text = text.replace("seeds: [0]\nlearning", f"{variants}seeds: [0]\nlearning", 1)
    path.write_text(text.replace('lora-sb: "1e-2"}', f'lora-sb: "1e-2"{rates}}}', 1))
    assert special <= set(planned(snakemake(root, "--dry-run")))


@pytest.mark.parametrize("study", ["quickstart", "glue-minilm"])
def test_a_sweep_without_committed_rates_plans_all_its_cells(tmp_path, study):
    root = copy_project(tmp_path / "project")
    (root / selected_rates_path(study)).unlink(missing_ok=True)
    jobs = planned(snakemake(root, "--dry-run", "sweep", "--config", f"study={study}"))
    assert jobs["train_and_predict"] == len(Study(study).sweep_cells)


def test_a_sweep_plans_the_cells_of_a_new_variant_alone(tmp_path):
    root = copy_project(tmp_path / "project")
    study = root / "config/studies/quickstart.yaml"
    sweep = ("--dry-run", "sweep", "--config", "study=quickstart")
    done = snakemake(root, *sweep)
    assert planned(done) == {"sweep": 1}
    assert "has a rate for each point" in done.stdout + done.stderr
    text = study.read_text().replace("  lora: {", "  dora: {ranks: [8]}\n  lora: {", 1)
    study.write_text(text.replace("    lora: [", '    dora: ["1e-3", "1e-2"]\n    lora: [', 1))
    assert planned(snakemake(root, *sweep))["train_and_predict"] == 3 * 2
    # and as the note on a rate at an edge asks, a wider grid is tried
    study.write_text(study.read_text().replace('lora: ["5e-4"', 'lora: ["2e-4", "5e-4"', 1))
    assert planned(snakemake(root, *sweep))["train_and_predict"] == 3 * 2 + 3 * 7


def test_a_rate_at_an_edge_of_its_grid_is_said(tmp_path):
    root = copy_project(tmp_path / "project")
    path = root / selected_rates_path("quickstart")
    rates = pd.read_csv(path, sep="\t", dtype=str).assign(edge="none")
    rates.loc[:2, "edge"] = ["low", "none", "high"]
    rates.to_csv(path, sep="\t", index=False)
    done = snakemake(root, "--dry-run", "--config", "study=quickstart")
    said = [line for line in (done.stdout + done.stderr).splitlines() if "rate tried" in line]
    assert len(said) == 2
    for line, row, which in zip(said, [0, 2], ["lowest", "highest"], strict=True):
        point = ", ".join(rates.loc[row, ["model", "task", "variant", "rank"]])
        assert f"{point}: {rates['lr'][row]} is the {which} rate tried; widen its grid" in line


def test_a_study_without_its_rates_is_one_clear_line_but_for_the_sweep(tmp_path):
    root = copy_project(tmp_path / "project")
    study = root / "config/studies/quickstart.yaml"
    text = study.read_text().replace("  lora: {", "  dora: {ranks: [8]}\n  lora: {", 1)
    study.write_text(text.replace("    lora: [", '    dora: ["1e-3"]\n    lora: [', 1))
    done = snakemake(root, "--dry-run", "--config", "study=quickstart")
    missing = "no learning rate for quickstart-llama, arithmetic, dora, 8"
    assert missing in refusal(done)
    assert planned(snakemake(root, "sweep", "--dry-run", "--config", "study=quickstart"))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "config/config.yaml",
            "study: tiny",
            "study: tyni",
            "unknown study 'tyni'",
        ),
        ("config/config.yaml", "study: tiny", "study: quickstart\nstudy: tiny", "line 2, column 1"),
        ("config/config.yaml", "study: tiny", "study: [tiny", "not valid YAML: "),
        ("config/config.yaml", "study: tiny", "study: 8.0", "8.0 is not of type 'string'"),
        ("config/config.yaml", "study: tiny", "", "config/config.yaml: an empty file"),
        (
            "config/studies/tiny.yaml",
            "tasks: [sentences]",
            "tasks: [sentenses]",
            "unknown task 'sentenses'",
        ),
        ("config/studies/tiny.yaml", "models: [", "models: [no-such, ", "unknown model 'no-such'"),
        ("config/studies/tiny.yaml", "tasks:", "taks:", "unknown key 'taks'"),
        ("config/studies/tiny.yaml", "seeds: [0]\nlearning", "seeds: []\nlearning", "empty grid"),
        ("config/studies/tiny.yaml", 'full: "1e-3"', "full: 0.001", "like '1e-4'"),
        *WRONG_CELLS,
        (
            "config/methods/lora-sb.yaml",
            "method: lora-sb",
            "method: lora-bs",
            "unknown method 'lora-bs'",
        ),
        (
            "config/studies/tiny.yaml",
            "gradient: {samples",
            "gradient: {smaples",
            "unknown key 'smaples'",
        ),
    ],
)
def test_bad_config_is_one_clear_line(tmp_path, file, old, new, message):
    root = copy_project(tmp_path / "project")
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    line = refusal(snakemake(root, "--dry-run"))
    assert line.startswith("error: ")
    assert message in line


CELL = "results/quickstart/runs/quickstart-llama/world/lora-sb/r16/lr2e-2/seed0/predictions.jsonl"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("r16", "r32", "unknown rank '32'; known: 4, 16"),
        ("r16", "r016", "unknown rank '016'"),
        ("r16", "r16.0", "unknown rank '16.0'"),
        ("lr2e-2", "lr2e-02", "unknown lr '2e-02'; did you mean '2e-2'"),
        ("lr2e-2", "lr5e-2", "unknown lr '5e-2'; did you mean '2e-2'"),
        ("seed0", "seed9", "unknown seed '9'; known: 0, 1, 2, 100"),
        ("world", "wrold", "unknown task 'wrold'; did you mean 'world'"),
        ("results/quickstart", "./results/quickstrat", "unknown study 'quickstrat'; did you mean"),
    ],
)
def test_a_target_that_no_study_has_is_one_clear_line_although_it_exists(
    tmp_path, old, new, message
):
    root = copy_project(tmp_path / "project")
    target = root / CELL.replace(old, new)
    target.parent.mkdir(parents=True)
    target.touch()
    assert message in refusal(snakemake(root, "--dry-run", CELL.replace(old, new)))


def test_a_target_of_a_study_plans_its_cell(fresh):
    assert planned(snakemake(fresh, "--dry-run", CELL))["train_and_predict"] == 1


@pytest.mark.parametrize("content", [b"description: [a\n", b"\xff\xfe", b"", b"settings: 3\n"])
def test_another_studys_damaged_file_stops_no_run(tmp_path, content):
    root = copy_project(tmp_path / "project")
    (root / "config/studies/other.yaml").write_bytes(content)
    (root / "config/studies/folder.yaml").mkdir()
    assert planned(snakemake(root, "--dry-run"))["train_and_predict"] == CELLS
    done = snakemake(root, "--dry-run", "--config", "study=other")
    assert done.returncode != 0
    assert "config/studies/other.yaml: " in done.stdout + done.stderr


def test_default_profile_is_found(fresh):
    done = snakemake(fresh, "--dry-run")
    assert "Using workflow specific profile profiles/default" in done.stderr


LARGE = "paper-arithmetic-mistral"
FORMS = {
    "prepare_task": memory.prepare_task,
    "estimate_gradient": memory.estimate_gradient,
    "factorize_gradient": memory.factorize_gradient,
    "probe_directions": memory.probe_directions,
    "measure_spectra": memory.measure_spectra,
}
OF_CELLS = {"train": memory.train, "predict": memory.predict}


def resources(done: subprocess.CompletedProcess[str]) -> dict[str, set[tuple[int, int]]]:
    """Rule -> the MB of memory and the GPUs that its jobs ask for, in the plan of a dry run."""
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    rule = ""
    for line in (done.stdout + done.stderr).splitlines():
        if named := re.fullmatch(r"(?:local)?rule (\w+):", line):
            rule = named[1]
        elif "mem_mb=" in line:
            numbers = dict(re.findall(r"(mem_mb|gpu)=(\d+)", line))
            found[rule].add((int(numbers["mem_mb"]), int(numbers.get("gpu", 0))))
    return found


def expected(*, gpu: bool) -> dict[str, set[tuple[int, int]]]:
    """The same by the closed forms."""
    study = Study(LARGE)
    needs = {rule: [form(study, *next(iter(study.pairs)))] for rule, form in FORMS.items()}
    needs["factorize_weights"] = [memory.factorize_weights(study, "mistral-7b")]
    needs |= {rule: [form(study, c) for c in study.cells] for rule, form in OF_CELLS.items()}
    return {
        rule: {
            (math.ceil(need.of_host(gpu=gpu) / 1e6), int(gpu and need.device > 0)) for need in own
        }
        for rule, own in needs.items()
    }


@pytest.mark.parametrize(
    ("gpu", "arguments"),
    [
        (False, []),
        (True, ["--workflow-profile", "profiles/gpu"]),
        (True, ["--resources", "gpu=2"]),
    ],
)
def test_jobs_ask_for_what_the_closed_forms_say(fresh, gpu, arguments):
    found = resources(snakemake(fresh, *arguments, "--dry-run", "--config", f"study={LARGE}"))
    wanted = expected(gpu=gpu)
    assert {rule: found[rule] for rule in wanted} == wanted
    # a model of 7 B numbers was asked 6 GB for, whatever was done with it
    assert min(mb for rule in OF_CELLS for mb, _ in found[rule]) > 14_500


def test_the_cluster_gives_gpus_to_the_rules_that_use_one():
    given = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())["set-resources"]
    using = {rule for rule, needs in expected(gpu=True).items() if any(gpu for _, gpu in needs)}
    # which this study does not use
    using |= {"estimate_activations", "probe_directions", "train_and_predict"}
    assert {rule for rule, own in given.items() if own.get("gpu")} == using


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_profile_for_gpus_does_not_run_on_the_cpu(tmp_path):
    root = copy_project(tmp_path / "project")
    cell = "results/tiny/runs/quickstart-llama/sentences/base/r0/lr0/seed0/predictions.jsonl"
    done = snakemake(root, "--workflow-profile", "profiles/gpu", cell)
    assert done.returncode != 0
    assert "gives this job a GPU, and torch" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (root / cell).exists()


def test_other_versions_than_the_pinned_ones_are_said_at_the_start(tmp_path):
    root = copy_project(tmp_path / "project")
    path = root / "lorasb/provenance.py"
    path.write_text(path.read_text().replace('"numpy": "2', '"numpy": "1'))
    done = snakemake(root, "--dry-run")
    assert done.returncode == 0
    said = (done.stdout + done.stderr).splitlines()
    (line,) = [line for line in said if "pinned" in line]
    assert "numbers may differ from released ones: numpy 2" in line
