"""docs/methods.md is what the registry and the files of `config/methods` say."""

from __future__ import annotations

from pathlib import Path

from lorasb.methods.page import page

PAGE = Path(__file__).resolve().parents[3] / "docs/methods.md"


def test_the_page_is_not_stale():
    """If it is: python -m lorasb.methods.page > docs/methods.md."""
    assert PAGE.read_text(encoding="utf-8") == page()
