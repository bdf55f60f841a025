"""Which files the hash of a base model is of, and which of them are refused."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lorasb.errors import UserError
from lorasb.models.spec import ModelSpec
from lorasb.models.weights import SUMS, weights_hash, write_sums
from tests.conftest import ROOT

BUNDLED = ROOT / "resources/byte-llama"


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    """A copy of a bundled model."""
    shutil.copytree(BUNDLED, tmp_path / "model")
    return replace(ModelSpec.load("byte-llama"), path=str(tmp_path / "model"))


def flip_a_bit(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[-1] ^= 1
    path.write_bytes(found)


@pytest.mark.parametrize("name", ["quickstart/model", "byte-llama"])
def test_bundled_models_are_what_their_sums_say(name):
    for line in (ROOT / "resources" / name / SUMS).read_text().splitlines():
        digest, file = line.split("  ")
        assert hashlib.sha256((ROOT / "resources" / name / file).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_bit_that_is_not_what_the_sums_say_is_refused(spec, file):
    path = Path(spec.source) / file
    weights_hash(spec)
    flip_a_bit(path)
    with pytest.raises(UserError, match=rf"^{path}: not what .*{SUMS} says; put the file back"):
        weights_hash(spec)
    shutil.copyfile(BUNDLED / file, path)
    weights_hash(spec)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_without_sums_a_bit_changes_the_hash(spec, file):
    (Path(spec.source) / SUMS).unlink()
    before = weights_hash(spec)
    (Path(spec.source) / "README.md").write_text("other files are not of it")
    assert weights_hash(spec) == before
    flip_a_bit(Path(spec.source) / file)
    assert weights_hash(spec) != before


def test_a_blob_of_the_hub_is_what_its_name_says(spec, tmp_path):
    path = Path(spec.source) / "model.safetensors"
    blob = tmp_path / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
    blob.parent.mkdir()
    path.rename(blob)
    path.symlink_to(blob)
    weights_hash(spec)
    flip_a_bit(blob)
    with pytest.raises(UserError, match=rf"^{path}: not what the hub has.* `rm {blob} {path}`$"):
        weights_hash(spec)


@pytest.mark.parametrize("kind", ["shards", "pickle"])
def test_the_hash_is_of_the_files_that_are_loaded(spec, kind):
    folder = Path(spec.source)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    if kind == "shards":
        model.save_pretrained(folder, max_shard_size="200KB")
        (first, *others) = sorted(folder.glob("model-*.safetensors"))
        assert others
    else:
        first = folder / "pytorch_model.bin"
        torch.save(model.state_dict(), first)
    write_sums(folder)
    before = weights_hash(spec)
    (folder / SUMS).unlink()
    flip_a_bit(first)
    assert weights_hash(spec) != before
