"""What a base model really is: hashes of its weights and of its tokenizer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from lorasb.models.spec import ModelSpec
from lorasb.records import sha256


def weights_hash(spec: ModelSpec) -> str:
    """The hash of the configuration and the weights of a model that has been loaded once."""
    revision = {"revision": spec.revision} if spec.revision else {}
    config = Path(str(cached_file(spec.source, "config.json", **revision)))
    index = config.with_name(SAFE_WEIGHTS_INDEX_NAME)
    names = {SAFE_WEIGHTS_NAME}
    # as transformers chooses
    if not config.with_name(SAFE_WEIGHTS_NAME).exists() and index.exists():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    digests = [sha256(config), *(sha256(config.with_name(name)) for name in sorted(names))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """The hash of a tokenizer as it was loaded: of its vocabulary and, where it is fast, rules."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    text = fast.to_str() if fast else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(text.encode()).hexdigest()
