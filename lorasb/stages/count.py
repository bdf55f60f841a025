"""Verb `count`."""

from __future__ import annotations

import json
import sys

from lorasb.methods.counts import count_report
from lorasb.methods.registry import make_variant
from lorasb.models.spec import ModelSpec


def count(model: str, method: str, rank: int = 0) -> None:
    """Print the closed-form counts of a variant on a model as JSON; no weights are needed."""
    names = {"model": model, "method": method}
    report = count_report(ModelSpec.load(model), make_variant(method).method.count, rank)
    sys.stdout.write(json.dumps(names | report, indent=2) + "\n")
