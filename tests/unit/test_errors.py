"""What the system refuses is one line: the file, why, what helps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lorasb.errors import refusal
from lorasb.files import atomic, atomic_folder, read_json, write_json


def refused(path: Path) -> str:
    with pytest.raises(OSError) as found:
        write_json(path, {})
    line = refusal(found.value)
    assert line is not None
    return line


def test_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "runs").touch()
    expected = f"{tmp_path}/runs: file exists; move away what is there"
    assert refused(tmp_path / "runs/a.json") == expected
    expected = f"{tmp_path}/runs: not a directory; move away what is there"
    assert refused(tmp_path / "runs/seed0/a.json") == expected


def test_folder_where_a_file_should_be(tmp_path):
    path = tmp_path / "a.json"
    path.mkdir()
    assert refused(path) == f"{path}: is a directory; move away what is there"
    with pytest.raises(OSError) as found:
        read_json(path)
    assert refusal(found.value) == f"{path}: is a directory; move away what is there"
    assert list(tmp_path.iterdir()) == [path]


def test_name_that_is_too_long(tmp_path):
    path = tmp_path / ("ü" * 200)
    assert refused(path) == f"{path}: file name too long; work in a folder with a shorter path"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "change the permissions"),
        (errno.EACCES, "change the permissions"),
    ],
)
def test_file_whose_writing_fails_is_named(tmp_path, number, advice):
    """Writing to an open file raises an error without a name; so does pyarrow's."""
    for context, name in ((atomic, "table.csv"), (atomic_folder, "release")):
        with pytest.raises(OSError) as found, context(tmp_path / name):
            raise OSError(number, f"[errno {number}] and what a library adds")
        line = refusal(found.value)
        assert line.startswith(f"{tmp_path / name}: {os.strerror(number).lower()}; {advice}")
        assert list(tmp_path.iterdir()) == []


def test_tensors_that_find_no_room_are_named(tmp_path, file_size_limit):
    import torch
    from safetensors.torch import save_file

    file_size_limit(1000)
    with pytest.raises(OSError) as found, atomic(tmp_path / "a.safetensors") as partial:
        save_file({"a": torch.zeros(1000)}, partial)
    line = refusal(found.value)
    assert line.startswith(f"{tmp_path}/a.safetensors: file too large; raise the limit")
    assert list(tmp_path.iterdir()) == []


def test_another_file_of_the_block_keeps_its_name(tmp_path):
    with pytest.raises(OSError) as found, atomic(tmp_path / "a"):
        (tmp_path / "none").read_text()
    assert refusal(found.value) == f"{tmp_path}/none: no such file or directory"


def test_what_names_no_file_and_has_no_remedy_may_be_a_fault_of_the_code():
    assert refusal(OSError("what a library says")) is None
    assert refusal(OSError(errno.EBADF, "bad descriptor")) is None
