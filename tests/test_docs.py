"""The code in the documentation runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SCORE = re.compile(r"\d+\.\d ± \d+\.\d")
PATH = re.compile(r"`((?:analysis|config|lorasb|profiles|tests|workflow)/[\w./-]+)`")
FOLDERS = (".", "docs", "config", "results")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))


def test_peft_page_runs_and_its_adapters_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = BLOCK.findall((ROOT / "docs" / "peft.md").read_text(encoding="utf-8"))
    assert len(blocks) == 8
    with torch.random.fork_rng(devices=[]):
        for block in blocks:
            exec(block, names)
    model, plain = names["model"], names["plain"]
    batch = names["collate"](names["rows"][:4])  # type: ignore[operator]
    with torch.no_grad():
        trained = model(**batch).logits  # type: ignore[operator]
        exported = plain(**batch).logits  # type: ignore[operator]
        with model.disable_adapter():  # type: ignore[attr-defined]
            untrained = model(**batch).logits  # type: ignore[operator]
    # the same sums of float32 products in another order
    torch.testing.assert_close(exported, trained, rtol=1e-4, atol=1e-4)
    assert (trained - untrained).abs().max() > 0.1


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


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_scores_are_those_that_were_published(page: str) -> None:
    published = [
        row
        for table in ROOT.glob("results/published/*/tables/accuracy.md")
        for row in score_rows(table)
    ]
    rows = score_rows(ROOT / page)
    assert len(rows) >= 4
    for method, scores in rows:
        assert any(
            method == name and scores == [score for score in known if score in scores]
            for name, known in published
        ), f"{method}: {scores}"


def score_rows(page: Path) -> list[tuple[str, list[str]]]:
    """The label and the scores of each row of a table that has scores."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [(row.split("|")[1].strip(), SCORE.findall(row)) for row in rows if SCORE.search(row)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_on_the_pages_are_there(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
