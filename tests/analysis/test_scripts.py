"""Every script as Snakemake runs it: with the object `snakemake` among its globals."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params

from analysis.tables.paired_differences import paired_differences
from analysis.tidy import TableError
from tests.analysis.conftest import MODEL, NAMES, NAMES_TABLE
from tests.analysis.tables.test_likelihood import with_likelihood

ROOT = Path(__file__).resolve().parents[2]
FIGURES = sorted((ROOT / "analysis/figures").glob("[a-z]*.py"))
TABLES = sorted((ROOT / "analysis/tables").glob("[a-z]*.py"))
EDGE = [MODEL, "world", "lora", "8", "5e-2", "high"]


def run(
    script: Path, inputs: dict[str, str], folder: Path, suffixes: tuple[str, ...]
) -> list[Path]:
    folder.mkdir(exist_ok=True)
    outputs = {suffix: str(folder / f"{script.stem}.{suffix}") for suffix in suffixes}
    fake = SimpleNamespace(
        input=InputFiles(fromdict=inputs),
        output=OutputFiles(fromdict=outputs),
        params=Params(fromdict={"name": script.stem, "stale": [], "by_loss": [], "edges": [EDGE]}),
    )
    # Snakemake puts lines of its own above the script, so `from __future__` cannot be used there
    source = f"pass\n{script.read_text()}"
    exec(compile(source, script, "exec"), {"__name__": "__main__", "snakemake": fake})
    return [Path(path) for path in outputs.values()]


@pytest.fixture(scope="session")
def inputs(ablations, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tables")
    plain = ("runs", "scores", "losses", "directions", "gradients", "spectra", "data")
    for name in (*plain, "exact", "sweep"):
        getattr(ablations, name).to_csv(folder / f"{name}.csv", index=False)
    scores, items = with_likelihood(ablations.scores, ablations.items)
    scores.to_csv(folder / "scores.csv", index=False)
    NAMES_TABLE.to_csv(folder / "names.csv", index=False)
    paper = pd.read_csv(ROOT / "analysis/paper.csv").assign(model=MODEL)
    paper.to_csv(folder / "paper.csv", index=False)
    ablations.selected.to_csv(folder / "selected_lr.tsv", index=False, sep="\t")
    items.to_parquet(folder / "items.parquet")
    paired = paired_differences(ablations.items, NAMES, np.random.default_rng(0), resamples=99)
    paired.to_csv(folder / "paired.csv", index=False)
    paths = {path.stem: str(path) for path in folder.iterdir()}
    selected = paths.pop("selected_lr")
    return paths | {"selected": selected, "rates": selected, "per_item": paths.pop("items")}


@pytest.mark.parametrize("script", FIGURES, ids=lambda path: path.stem)
def test_figure_writes_pdf_and_png_with_the_same_bytes_each_time(script, inputs, tmp_path):
    one, two = (run(script, inputs, tmp_path / name, ("pdf", "png")) for name in ("one", "two"))
    assert one[0].read_bytes().startswith(b"%PDF")
    assert one[1].read_bytes().startswith(b"\x89PNG")
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("script", TABLES, ids=lambda path: path.stem)
def test_table_has_the_same_rows_in_every_format(script, inputs, tmp_path):
    suffixes = ("csv", "md", "tex", "html")
    csv, markdown, latex, page = run(script, inputs, tmp_path / "out", suffixes)
    data = pd.read_csv(csv)
    assert {"model", "task"} <= set(data)
    lines = [line for line in markdown.read_text().splitlines() if line.startswith("|")]
    rows = latex.read_text().split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(lines) - 2 == len(rows) > 0
    assert page.read_text().count("<tr>") == len(rows)
    says = "outside what was tried for World, LoRA, r = 8 (5e-2, highest tried)"
    scores = script.stem in {"accuracy", "paired_differences"}
    assert all((says in path.read_text()) == scores for path in (markdown, latex, page))


@pytest.mark.parametrize("script", FIGURES + TABLES, ids=lambda path: path.stem)
def test_script_has_a_caption_that_names_the_study(script):
    caption = (ROOT / f"workflow/report/{script.stem}.rst").read_text()
    assert "{{ snakemake.wildcards.study }}" in caption
    # what is uncertain is said: intervals, bands, or over what medians and means are taken
    assert any(word in caption for word in ("interval", "band", "medians", "mean"))


def damage(path: Path, how: str) -> None:
    """Make one file unreadable or another."""
    content = path.read_bytes()
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how != "missing":
        # a table of something else, in the format that the name says
        other = pd.DataFrame({"other": [1, 2]})
        if how == "empty" or path.suffix == ".parquet":
            path.write_bytes(b"")
        if how == "foreign" and path.suffix == ".parquet":
            other.to_parquet(path)
        elif how == "foreign":
            other.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def used(script: Path) -> list[str]:
    """The inputs that a script reads."""
    return sorted(set(re.findall(r"snakemake\.input\.([a-z_]+)", script.read_text())))


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "foreign", "a folder"])
@pytest.mark.parametrize("script", FIGURES + TABLES, ids=lambda path: path.stem)
def test_table_that_cannot_be_read_is_a_line(script, how, inputs, tmp_path):
    suffixes = ("pdf", "png") if script in FIGURES else ("csv", "md", "tex", "html")
    for name in used(script):
        copies = {key: tmp_path / f"{key}{Path(path).suffix}" for key, path in inputs.items()}
        if how == "cut" and copies[name].suffix == ".tsv":
            continue  # the place of the cut decides whether it can be seen
        for key, copy in copies.items():
            copy.rmdir() if copy.is_dir() else copy.unlink(missing_ok=True)
            shutil.copyfile(inputs[key], copy)
        damage(copies[name], how)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        with pytest.raises(TableError) as ended:
            run(
                script, {key: str(path) for key, path in copies.items()}, tmp_path / "out", suffixes
            )
        message = str(ended.value.code)
        assert message.startswith(f"{copies[name]}: ")
        assert "\n" not in message
        assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("script", [FIGURES[0], TABLES[0]], ids=lambda path: path.stem)
def test_file_that_cannot_be_written_is_a_line(script, inputs, tmp_path):
    suffixes = ("pdf", "png") if script in FIGURES else ("csv", "md", "tex", "html")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{script.stem}.{suffixes[0]}").mkdir()
    with pytest.raises(TableError, match=r"cannot be written \(Is a directory\)"):
        run(script, inputs, tmp_path / "out", suffixes)


def test_script_ends_with_the_line_and_a_status(tmp_path):
    code = f"from analysis.tidy import read; read({str(tmp_path / 'runs.csv')!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / 'runs.csv'}: cannot be read (No such file")
    assert done.stderr.count("\n") == 1
