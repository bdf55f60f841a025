from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import datasets.config
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorasb.errors import UserError
from lorasb.tasks.downloads import load_file, used_files
from lorasb.tasks.task import File, FilesSource

ROWS = [{"instruction": f"é {index}", "output": str(index)} for index in range(3)]
TEXT = json.dumps(ROWS, indent=4).encode()
SHA = hashlib.sha256(TEXT).hexdigest()
COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def no_memory():
    """Forget the files that other tests loaded."""
    load_file.cache_clear()


def source(folder: Path | None, path: str = "a/rows.json", **facts: Any) -> FilesSource:
    file = File(path, facts.get("rows"), facts.get("sha256"))
    return FilesSource(
        folder=None if folder is None else str(folder),
        url=facts.get("url", "http://127.0.0.1:9"),
        revision=COMMIT,
        files=(("rows", file),),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/rows.json").write_bytes(TEXT)
    (tmp_path / "a/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a/rows.parquet")
    return tmp_path


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_rows_of_a_file_on_disk(folder, ending):
    found = load_file(source(folder, f"a/rows.{ending}", rows=3), "rows")
    assert found.to_list() == ROWS


def test_the_manifest_has_the_checksum_of_what_was_read(folder):
    assert used_files(source(folder), {"rows"}) == {"rows": {"path": "a/rows.json", "sha256": SHA}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT[:50], "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"instruction": "x"}', "not a list of objects"),
        (b'[{"a": "x"}, "y"]', "not a list of objects"),
        (b'[{"a": "x"}, {"b": "y"}]', "row 1: 'a' is not in all rows"),
        (b'[{"a": "x"}, {"a": 3}]', "the values of 'a' are not of one type"),
        (b'[{"b": 1, "a": 1}, {"b": 1, "a": [1]}]', "the values of 'a' are not of one type"),
        (b'[{"a": "\xff"}]', "not UTF-8"),
        (b'[{"a": "\\ud83d"}]', r"half of a character, \\ud83d, which is no text"),
        (b"[]", "the file has no rows"),
    ],
)
def test_a_broken_file_is_one_line(folder, content, message):
    (folder / "a/rows.json").write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        load_file(source(folder), "rows")
    assert "a/rows.json" in str(raised.value)
    # it may be the only one that there is
    assert "delete it and run again" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_file_without_rows_is_one_line(folder, ending):
    (folder / "a/rows.jsonl").write_text("")
    pq.write_table(pa.Table.from_pylist(ROWS)[:0], folder / "a/rows.parquet")
    with pytest.raises(UserError, match=rf"rows\.{ending}: the file has no rows"):
        load_file(source(folder, f"a/rows.{ending}"), "rows")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_file_cut_short_is_one_line(folder, ending):
    path = folder / f"a/rows.{ending}"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=f"rows.{ending}") as raised:
        load_file(source(folder, f"a/rows.{ending}"), "rows")
    assert "\n" not in str(raised.value)


def test_a_wrong_number_of_rows_is_refused(folder):
    with pytest.raises(UserError, match="3 rows, not 4; it is cut short or another version"):
        load_file(source(folder, rows=4), "rows")


def test_a_wrong_checksum_is_refused(folder):
    assert len(load_file(source(folder, sha256=SHA), "rows")) == 3
    with pytest.raises(UserError, match=f"sha256 is {SHA}, not {'0' * 64}"):
        load_file(source(folder, sha256="0" * 64), "rows")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a/rows\.json: no such file; see source\.folder"):
        load_file(source(tmp_path), "rows")


def test_an_unknown_name_is_refused(folder):
    with pytest.raises(UserError, match="no 'train'; it has: rows"):
        load_file(source(folder), "train")


class Server(HTTPServer):
    """Serves `body` for every path, announcing `length` bytes, and keeps the paths."""

    body = TEXT
    length = len(TEXT)
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def remote(server: Server, **facts: Any) -> FilesSource:
    return source(None, url=f"http://127.0.0.1:{server.server_port}", **facts)


def cached(tmp_path: Path) -> list[Path]:
    """What was fetched, besides locks."""
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    return [path for path in files if path.suffix != ".lock"]


def test_a_file_is_downloaded_once(server, tmp_path):
    for _ in range(2):
        assert load_file(remote(server, sha256=SHA), "rows").to_list() == ROWS
        load_file.cache_clear()
    assert server.paths == [f"/{COMMIT}/a/rows.json"]
    assert cached(tmp_path) == [tmp_path / "cache/files" / COMMIT / "a/rows.json"]


def test_a_download_cut_short_leaves_nothing(server, tmp_path):
    server.length = len(TEXT) + 1
    with pytest.raises(UserError, match=f"{len(TEXT)} of {len(TEXT) + 1} bytes came"):
        load_file(remote(server), "rows")
    assert cached(tmp_path) == []


def test_a_download_with_another_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(UserError, match=r"http://.*/a/rows\.json: sha256 is"):
        load_file(remote(server, sha256="0" * 64), "rows")
    assert cached(tmp_path) == []


def test_a_refused_download_is_one_line(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match="cannot be downloaded: HTTP Error 404"):
        load_file(remote(server), "rows")
    assert cached(tmp_path) == []


def test_without_a_network_the_cache_is_enough(server, monkeypatch):
    load_file(remote(server), "rows")
    load_file.cache_clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert len(load_file(remote(server), "rows")) == 3


def test_no_network_and_nothing_cached_is_one_line(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no network and nothing cached") as raised:
        load_file(remote(server), "rows")
    assert "source.folder" in str(raised.value)
    assert server.paths == []
