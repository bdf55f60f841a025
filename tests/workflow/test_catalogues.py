"""Rules of figures and tables follow from the rows of the catalogues."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import copy_project, planned, snakemake

NAMES = ("one_more", "and_another")
FIGURE = "results/tiny/figures/{}.png"

SCRIPT = """
from pathlib import Path

for path in snakemake.output:
    Path(path).write_text("drawn by {name} from " + snakemake.input.runs)
"""
ROW = "\n- {{name: {name}, title: a new one, category: Accuracy, inputs: [runs], when: always}}\n"


def add_figure(root: Path, name: str) -> None:
    """All that a figure needs: a script, a caption, a row."""
    (root / f"analysis/figures/{name}.py").write_text(SCRIPT.format(name=name))
    (root / f"workflow/report/{name}.rst").write_text("What it shows.")
    with (root / "workflow/figures.yaml").open("a") as file:
        file.write(ROW.format(name=name))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project copy with two figures more, drawn from a table that is there."""
    root = copy_project(tmp_path_factory.mktemp("catalogues") / "project")
    for name in NAMES:
        add_figure(root, name)
    runs = root / "results/tiny/tables/runs.csv"
    runs.parent.mkdir(parents=True)
    runs.write_text("study\n")
    done = draw(root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def draw(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    rules = [f"plot_{name}" for name in NAMES]
    return snakemake(root, *map(FIGURE.format, NAMES), "--allowed-rules", *rules, *arguments)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_figure_is_a_script_a_caption_and_a_row(drawn, name):
    text = (drawn / FIGURE.format(name)).read_text()
    assert text == f"drawn by {name} from results/tiny/tables/runs.csv"


def test_a_figure_is_among_the_targets_of_its_study(drawn):
    done = snakemake(drawn, "--dry-run", "figures")
    assert f"plot_{NAMES[0]}" in done.stdout


@pytest.mark.parametrize(("line", "again"), [("# a comment", False), ("MORE = 1", True)])
def test_shared_code_draws_figures_again_and_a_comment_does_not(drawn, line, again):
    with (drawn / "analysis/style.py").open("a") as file:
        file.write(f"{line}\n")
    jobs = planned(draw(drawn, "--dry-run"))
    assert {f"plot_{name}" in jobs for name in NAMES} == {again}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "inputs: [names, losses]",
            "inputs: [names, loses]",
            "training_loss: unknown input 'loses'",
        ),
        ("when: snapshots", "when: snapshot", "gradient_alignment: unknown condition 'snapshot'"),
        ("category: Training", "kategory: Training", "training_loss: no key 'category'"),
        ("when: sweep", "when: sweep\n  param: [stale]", "unknown key 'param'; did you mean"),
        ("when: sweep", "when: sweep\n  params: [stael]", "unknown parameter 'stael'"),
        (
            "name: training_loss",
            "name: test_loss",
            "test_loss: there is no analysis/figures/test_loss.py",
        ),
        (
            "name: training_loss",
            "name: style_guide",
            "style_guide: there is no workflow/report/style_guide.rst",
        ),
    ],
)
def test_a_bad_row_is_one_clear_line(tmp_path, old, new, message):
    root = copy_project(tmp_path / "project")
    (root / "analysis/figures/style_guide.py").touch()
    path = root / "workflow/figures.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    done = snakemake(root, "--dry-run")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if message in line]
    assert len(lines) == 1
    assert "workflow/figures.yaml: " in lines[0]
