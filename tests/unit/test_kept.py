from __future__ import annotations

from pathlib import Path

import pytest

from lorasb.kept import kept


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lorasb"


def test_a_fact_is_found_once_under_one_key():
    found = iter(["first", "second"])
    assert [kept("fact", key, lambda: next(found)) for key in (1, 1, [1], 1)] == [
        *("first", "first", "second", "first"),
    ]


def test_a_damaged_file_is_found_again(folder):
    kept("fact", 1, lambda: "first")
    (path,) = folder.iterdir()
    path.write_bytes(b"\xff{")
    assert kept("fact", 1, lambda: "second") == "second"


def test_where_nothing_can_be_written_a_fact_is_found_each_time(folder):
    folder.write_text("a file in place of the folder")
    found = iter(["first", "second"])
    assert [kept("fact", 1, lambda: next(found)) for _ in range(2)] == ["first", "second"]
