"""How a stage leaves what cells start from: the file, its cost, and a record of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lorasb.files import write_json
from lorasb.machine import measured
from lorasb.records import Inputs, alone, write_record

Made = TypeVar("Made")


def write_start(
    path: Path,
    inputs: Inputs,
    make: Callable[[], Made],
    save: Callable[[Made, Path], None],
    facts: Callable[[Made], Mapping[str, Any]],
) -> None:
    """Make what `path` is to hold, unless it was made from the same inputs; a JSON has the cost.

    Seconds and peak memory are those of `make`; `facts` says what stands beside them.
    """
    record = path.with_name("record.json")
    with alone(record) as made:
        if made(inputs):
            return
        with measured() as cost:
            found = make()
        save(found, path)
        write_json(path.with_suffix(".json"), {**cost, **facts(found)})
        write_record(record, [path, path.with_suffix(".json")], inputs)
