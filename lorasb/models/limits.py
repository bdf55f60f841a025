"""What a model can take in: how many tokens at once, and which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lorasb.models.load import skeleton
from lorasb.models.spec import Kind, ModelSpec

# ends of the names of tables of learnt positions
POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")


@dataclass(frozen=True)
class Limits:
    """Of a model that `skeleton` builds."""

    # tokens that have a place; None: any number
    positions: int | None
    # rows of the token embedding
    embeddings: int
    # kinds of segments that texts of a pair may be marked with; None: not known
    token_types: int | None
    # ids of start, end and padding, as the model's configuration has them
    special_ids: frozenset[int]


def limits(spec: ModelSpec, *, kind: Kind, num_labels: int) -> Limits:
    """The limits of a model, from its configuration alone."""
    model = skeleton(spec, kind=kind, num_labels=num_labels)
    config, tokens = model.config, len(model.get_input_embeddings().weight)
    return Limits(
        positions=_positions(model),
        embeddings=tokens,
        token_types=getattr(config, "type_vocab_size", None) or None,
        special_ids=frozenset(token for token in _special_ids(config) if 0 <= token < tokens),
    )


def _positions(model: nn.Module) -> int | None:
    """Rows of the table of positions that tokens can have; without a table what was trained."""
    tables = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.endswith(POSITION_TABLES)
    ]
    if tables:
        return min(table.num_embeddings - _first_position(table) for table in tables)
    config: Any = model.config
    # distances between tokens have no end
    if getattr(config, "relative_attention", False) or getattr(config, "alibi", False):
        return None
    known = getattr(config, "max_position_embeddings", None)
    return known if known and known > 0 else None


def _first_position(table: nn.Embedding) -> int:
    """The row of a text's first token: OPT and BART skip two, RoBERTa those up to the padding's."""
    offset: int | None = getattr(table, "offset", None)
    if offset is not None:
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _special_ids(config: Any) -> list[int]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    found = [getattr(config, name, None) for name in names]
    # the end may be one of several tokens
    return [
        token
        for one in found
        for token in (one if isinstance(one, list) else [one])
        if token is not None
    ]
