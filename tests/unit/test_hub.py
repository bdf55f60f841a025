"""Hosts that do not answer: a line at once in place of minutes of retries."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lorasb import hub
from lorasb.errors import UserError
from lorasb.models.load import load_tokenizer
from lorasb.models.spec import ModelSpec
from lorasb.tasks import downloads, sources
from lorasb.tasks.task import File, FilesSource, HubSource

# the hub's libraries alone take more than 20 seconds for each file that they ask for
AT_ONCE = 15


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user's process is: nothing says whether there is a network."""
    import datasets.config
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    for cached in (hub.out_of_reach, sources._load_hub, downloads.load_file):
        cached.cache_clear()


@pytest.fixture
def closed() -> str:
    """A URL where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def unreachable(closed: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub that does not answer."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", closed)
    return closed


@pytest.fixture
def refusing() -> Iterator[str]:
    """A server that answers 404 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_closed_port_is_out_of_reach_and_any_answer_is_not(closed, refusing):
    assert hub.out_of_reach(closed)
    assert not hub.out_of_reach(refusing)
    assert not hub.out_of_reach("no URL at all")


def test_host_that_accepts_and_is_silent_is_out_of_reach(monkeypatch):
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert hub.out_of_reach(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_name_that_is_looked_up_for_ever_is_out_of_reach(monkeypatch):
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
    started = time.monotonic()
    assert hub.out_of_reach("http://somewhere.invalid")
    assert time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_setting_decides_where_there_is_one(closed, monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert not hub.out_of_reach(closed)


def refused(load) -> str:
    started = time.monotonic()
    with pytest.raises(UserError) as found:
        load()
    assert time.monotonic() - started < AT_ONCE
    message = str(found.value)
    assert "no network and nothing cached" in message
    assert "without HF_HUB_OFFLINE=1" in message
    return message


def test_model_data_set_and_file_without_a_network_are_a_line_at_once(unreachable, offline_cache):
    model = ModelSpec.load("mistral-7b")
    assert f": {model.hub_id};" in refused(lambda: load_tokenizer(model))
    source = HubSource("nobody/rows", None, None)
    assert "data set nobody/rows" in refused(lambda: sources._load_hub(source, "train"))


def test_file_of_another_host_without_a_network_is_a_line_at_once(closed, offline_cache):
    rows = (("rows", File("rows.jsonl", None, None)),)
    source = FilesSource(folder=None, url=closed, revision="1", files=rows)
    assert f"{closed}/1/rows.jsonl" in refused(lambda: downloads.load_file(source, "rows"))


@pytest.fixture
def offline_cache(tmp_path, monkeypatch) -> None:
    """An empty cache."""
    import datasets.config
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_cached_copies_are_used_at_once_and_a_line_says_so(unreachable, offline_hub, capsys):
    started = time.monotonic()
    load_tokenizer(ModelSpec.load("all-minilm-l6-v2"))
    assert f"{unreachable} does not answer; the cache is used\n" in capsys.readouterr().err
    assert len(sources._load_hub(HubSource("nyu-mll/glue", "mrpc", None), "train")) > 3000
    assert time.monotonic() - started < AT_ONCE
