"""The code in the documentation runs as it is printed."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import peft
import pytest
import torch

import lorasb

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SCORE = re.compile(r"\d+\.\d ± \d+\.\d")
PATH = re.compile(r"`((?:analysis|config|lorasb|profiles|tests|workflow)/[\w./-]+)`")
FOLDERS = (".", "docs", "docs/api", "config", "results")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))


def test_peft_page_runs_and_its_adapters_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run("docs/peft.md", tmp_path, monkeypatch)
    model, plain = names["model"], names["plain"]
    batch = names["collate"](names["rows"][:4])
    with torch.no_grad():
        trained = model(**batch).logits
        exported = plain(**batch).logits
        assert torch.equal(names["same"].eval()(**batch).logits, trained)
        with model.disable_adapter():
            untrained = model(**batch).logits
    # the same sums of float32 products in another order
    torch.testing.assert_close(exported, trained, rtol=1e-4, atol=1e-4)
    assert (trained - untrained).abs().max() > 0.1


def run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a page's blocks leave, run in a folder like the project's root."""
    (folder / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for block in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
            exec(block, names)
    return names


def test_page_of_trainers_runs(tmp_path, monkeypatch):
    names = run("docs/trainers.md", tmp_path, monkeypatch)
    for model, rows in (("classified", "rows"), ("translated", "pairs")):
        matrices = {n: p for n, p in names[model].named_parameters() if "lora_xs_R" in n}
        assert matrices
        assert all(matrix.any() for matrix in matrices.values())
        assert len(names[rows]) == 64
    saved = peft.PeftModel.from_pretrained(names["classifier"](), "build/classifier")
    batch = names["DataCollatorWithPadding"](names["tokenizer"])(names["rows"][:4])
    with torch.no_grad():
        assert torch.equal(saved(**batch).logits, names["classified"].eval()(**batch).logits)
    assert (tmp_path / "build/t5-lora/adapter_model.safetensors").exists()


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    notebook = json.loads((ROOT / "docs/lora_sb.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    monkeypatch.chdir(ROOT / "docs")
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        for cell in cells:
            exec("".join(cell["source"]), names)
    assert names["final"] < names["untrained"]
    # the same sums of float32 products in another order, logits of size 10
    assert names["difference"] < 1e-4
    assert "trainable params" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for name, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / name if name else page
        assert target.exists(), name
        if anchor:
            assert anchor in anchors(target), f"{name}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_reference_has_every_public_name():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/api").glob("*.md"))
    listed = re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)
    names = {path.rpartition(".")[2] for path in listed}
    assert names >= {*lorasb.__all__, "StartLoraSB", "UserError"}
    for path in listed:
        assert resolve_name(path)


@pytest.mark.slow
def test_the_site_is_built_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = html.unescape((tmp_path / "api/tuner/index.html").read_text(encoding="utf-8"))
    fields = {field.name: field for field in dataclasses.fields(lorasb.LoraXSConfig)}
    for name in lorasb.LoraXSConfig.__annotations__:  # its own, not PEFT's
        assert fields[name].metadata["help"][:20] in text, name
    # the start page is the README, whose pictures lie elsewhere
    for picture in ("docs/start.svg", "results/published/glue-minilm/figures"):
        assert (tmp_path / picture.removeprefix("docs/")).exists()


# in the README columns of a table may be of two studies
@pytest.mark.parametrize(("page", "most"), [("README.md", 2), ("docs/results.md", 1)])
def test_scores_are_those_that_were_published(page: str, most: int) -> None:
    published = [
        row
        for table in ROOT.glob("results/published/*/tables/accuracy.md")
        for row in score_rows(table)
    ]
    rows = score_rows(ROOT / page)
    assert len(rows) >= 4
    for method, scores in rows:
        own = [known for name, known in published if name == method]
        assert any(
            scores == [score for known in studies for score in known if score in scores]
            for number in range(1, most + 1)
            for studies in permutations(own, number)
        ), f"{method}: {scores}"


def score_rows(page: Path) -> list[tuple[str, list[str]]]:
    """The label and the scores of each row of a table that has scores."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [(row.split("|")[1].strip(), SCORE.findall(row)) for row in rows if SCORE.search(row)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_on_the_pages_are_there(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
