"""What a base model really is: hashes of its weights and of its tokenizer."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.utils import (
    CONFIG_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    cached_file,
)

from lorasb.errors import UserError
from lorasb.files import atomic
from lorasb.models.spec import ModelSpec
from lorasb.records import sha256

SUMS = "SHA256SUMS"  # beside weights: what they are to be, as `sha256sum` writes it
# as transformers looks for them
WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)


def weights_hash(spec: ModelSpec) -> str:
    """The hash of the configuration and the weights of a model that has been loaded once.

    Raises
    ------
    UserError
        If a file is not what its published hash says: the name of its blob in the cache of the
        hub, or a line of `SHA256SUMS` beside it.
    """
    revision = {"revision": spec.revision} if spec.revision else {}
    files = _files(Path(str(cached_file(spec.source, CONFIG_NAME, **revision))))
    for file in files:
        _refuse_another(file)
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()


def write_sums(folder: Path) -> None:
    """Write `SHA256SUMS` of a model's configuration and weights."""
    with atomic(folder / SUMS) as partial:
        lines = [f"{sha256(file)}  {file.name}\n" for file in _files(folder / CONFIG_NAME)]
        partial.write_text("".join(lines), encoding="utf-8")


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """The hash of a tokenizer as it was loaded: of its vocabulary and, where it is fast, rules."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    text = fast.to_str() if fast else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _files(config: Path) -> list[Path]:
    """The configuration and, beside it, the weights."""
    found = next(path for name in WEIGHTS if (path := config.with_name(name)).exists())
    names = {found.name}
    if found.suffix == ".json":
        names = set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values())
    return [config, *(config.with_name(name) for name in sorted(names))]


def _refuse_another(file: Path) -> None:
    sums, blob = file.with_name(SUMS), file.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name) and sha256(file) != blob.name:
        raise UserError(f"{file}: not what the hub has; fetch it again after `rm {blob} {file}`")
    if sums.exists() and f"{sha256(file)}  {file.name}" not in sums.read_text("utf-8").splitlines():
        raise UserError(
            f"{file}: not what {sums} says; put the file back (`git checkout -- {file}` if it came "
            f"with the repository, `rm -r {file.parent}` in a cache), or remove {sums} "
            "if the change is meant"
        )
