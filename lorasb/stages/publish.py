"""Release a study's tables and figures in `results/published/`, with where they come from."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lorasb.errors import UserError
from lorasb.files import atomic_folder, read_record, write_json
from lorasb.provenance import other_versions
from lorasb.records import ENDING, check_folder
from lorasb.study.cells import Cell
from lorasb.study.hashes import stale_rates
from lorasb.study.paths import FIGURES, MODEL, TABLES
from lorasb.study.rates import selected_rates_path
from lorasb.study.read import read_csv
from lorasb.study.study import Study
from lorasb.tidy.origins import PROVENANCE
from lorasb.tidy.released import released_rows

PUBLISHED = "results/published/{study}"
FOLDERS = (TABLES, FIGURES)
LEFT_OUT = {".html", ".pdf"}  # `make run` makes them again; git would keep each version for good
LARGEST_CSV = 100_000  # bytes; longer tables are parquet
LARGEST_FILE = 1_000_000  # bytes; git keeps every file that was ever committed


def publish(study: str, *, available: bool = False, large: bool = False) -> None:
    """Put a finished study's release in place of its last one; `provenance.json` says its origin.

    With `available`, cells without results are counted there and left out: in the tables they are
    rows that say so. With `large`, files above `LARGEST_FILE` are released too.

    Raises
    ------
    UserError
        If tables or cells are missing, if a table is not as it was written, if cells were run from
        code that was not committed, if a learning rate was selected under other settings than the
        present ones, or if a file is too large. The last release is then left as it was.
    """
    found = Study.load(study)
    stale = stale_rates(found)
    if stale:
        raise UserError(
            f"{selected_rates_path(study)}: selected under other settings than the present "
            f"ones ({'; '.join(stale)}); run the target 'sweep' again"
        )
    cells = found.scored_cells("test")
    present = [cell for cell in cells if not available or _provenance(cell).exists()]
    origins = _origins(found, present)
    folders = [Path(pattern.format(study=study)) for pattern in FOLDERS]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; run `snakemake --config study={study}` first"
            )
        check_folder(folder)
    facts = {"study": study, "cells_without_results": len(cells) - len(present), **_models(found)}
    with atomic_folder(PUBLISHED.format(study=study)) as release:
        for folder in folders:
            copy_release(folder, release / folder.name, large=large)
        write_json(release / "provenance.json", facts | {"origins": origins})


def copy_release(folder: Path, target: Path, *, large: bool = False) -> None:
    """Copy a folder of tables or figures in the form that a release has.

    Long CSV tables become parquet of the same name, PNG get a palette, HTML and PDF stay behind.

    Raises
    ------
    UserError
        If a copy has more than `LARGEST_FILE` bytes, unless `large` asks for it.
    """
    target.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        if path.suffix in LEFT_OUT or path.name.endswith(ENDING):
            continue
        size = _copy(path, target / path.name).stat().st_size
        if size > LARGEST_FILE and not large:
            raise UserError(
                f"{path}: {size / 1e6:.2f} MB in the release, more than {LARGEST_FILE / 1e6:.0f} "
                "MB; keep fewer rows, or give --large if git shall hold it for good"
            )


def _copy(path: Path, target: Path) -> Path:
    """Copy one file; returns where it lies."""
    if path.suffix == ".csv" and path.stat().st_size > LARGEST_CSV:
        table = read_csv(path, text=["lr"])
        target = target.with_suffix(".parquet")
        _write_parquet(pa.Table.from_pandas(table, preserve_index=False), target)
    elif path.suffix == ".parquet":
        _write_parquet(pq.read_table(path), target)
    elif path.suffix == ".png":
        _write_palette(path, target)
    else:
        shutil.copyfile(path, target)
    return target


def _write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as parquet with zstd.

    Measured numbers hardly repeat: they shrink more byte by byte than with a dictionary.
    """
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    others = [name for name in table.column_names if name not in floats]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=others,
        use_byte_stream_split=floats,
    )


def _write_palette(path: Path, target: Path) -> None:
    """Write an opaque PNG with 256 colours: common ones stay, only rare blends at edges move."""
    with Image.open(path) as image:
        reduced = image.convert("RGB").quantize(
            256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        reduced.save(target, format="PNG", optimize=True, dpi=image.info.get("dpi"))


def _provenance(cell: Cell) -> Path:
    return cell.folder / "provenance.json"


def _models(study: Study) -> dict[str, Any]:
    """Where the models are from that come as GGUF files, and what was made of them."""
    converted = [name for name, spec in study.models.items() if spec.is_gguf]
    files = {name: Path(MODEL.format(study=study.name, model=name)) for name in converted}
    found = {name: read_record(folder / "model.json", "tensors") for name, folder in files.items()}
    return {"models": found} if found else {}


def _origins(study: Study, cells: list[Cell]) -> list[dict[str, Any]]:
    """Where these cells and those of a release are from, each different answer with its number."""
    facts = [*map(_origin, cells), *_released_origins(study)]
    number = Counter(json.dumps(origin, sort_keys=True) for origin in facts)
    return [{"cells": count, **json.loads(origin)} for origin, count in number.items()]


def _origin(cell: Cell) -> dict[str, Any]:
    """What a cell's `provenance.json` says."""
    path = _provenance(cell)
    origin = read_record(path, "uncommitted_changes")
    if origin["uncommitted_changes"]:
        raise UserError(
            f"{path}: the cell was run from code that is not committed; "
            "commit, remove the cell's folder and run it again"
        )
    return {name: value for name, value in origin.items() if name != "cell_hash"}


def _released_origins(study: Study) -> Iterator[dict[str, Any]]:
    """The same of the cells that are taken from a release."""
    if not study.released_cells:
        return
    for row in released_rows(study, "origins").to_dict("records"):
        packages = json.loads(row["packages"])
        facts = {name: row[name] for name in PROVENANCE if name != "cell_hash"}
        yield facts | {"packages": packages, "other_versions": other_versions(packages)}
