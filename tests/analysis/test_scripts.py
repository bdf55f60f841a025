"""Every script as Snakemake runs it: with the object `snakemake` among its globals."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from snakemake.iocontainers import InputFiles, OutputFiles, Params

from analysis.tables.paired_differences import paired_differences
from tests.analysis.conftest import MODEL, NAMES, NAMES_TABLE

ROOT = Path(__file__).resolve().parents[2]
FIGURES = sorted((ROOT / "analysis/figures").glob("[a-z]*.py"))
TABLES = sorted((ROOT / "analysis/tables").glob("[a-z]*.py"))
EDGE = [MODEL, "world", "lora", "8", "5e-2", "high"]


def run(
    script: Path, inputs: dict[str, str], folder: Path, suffixes: tuple[str, ...]
) -> list[Path]:
    folder.mkdir()
    outputs = {suffix: str(folder / f"{script.stem}.{suffix}") for suffix in suffixes}
    fake = SimpleNamespace(
        input=InputFiles(fromdict=inputs),
        output=OutputFiles(fromdict=outputs),
        params=Params(fromdict={"name": script.stem, "stale": [], "edges": [EDGE]}),
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
    NAMES_TABLE.to_csv(folder / "names.csv", index=False)
    paper = pd.read_csv(ROOT / "analysis/paper.csv").assign(model=MODEL)
    paper.to_csv(folder / "paper.csv", index=False)
    ablations.selected.to_csv(folder / "selected_lr.tsv", index=False, sep="\t")
    ablations.items.to_parquet(folder / "items.parquet")
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
