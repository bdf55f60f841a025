import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lorasb.errors import UserError
from lorasb.files import (
    atomic,
    atomic_folder,
    load_tensors,
    locked,
    read_json,
    read_jsonl,
    read_record,
    write_json,
    write_jsonl,
)


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def fill(folder, text):
    (folder / text).write_text(text)


def texts(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_takes_the_place_of_the_old_one_with_all_its_files(tmp_path):
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "release") as partial:
            fill(partial, text)
    assert texts(tmp_path) == ["release/new"]


def test_failure_leaves_the_old_folder_and_no_other(tmp_path):
    with atomic_folder(tmp_path / "release") as partial:
        fill(partial, "old")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "release") as partial:
        fill(partial, "half")
        raise RuntimeError
    assert texts(tmp_path) == ["release/old"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path):
    with atomic_folder(tmp_path / "release") as partial:
        fill(partial, "old")
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "release") as partial:
        partial.rmdir()
    assert texts(tmp_path) == ["release/old"]


def test_what_a_killed_call_left_is_put_in_order(tmp_path):
    for name in (".release.partial", ".release.old"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, name)
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "release") as partial:
        assert texts(partial) == []
        raise RuntimeError
    assert texts(tmp_path) == ["release/.release.old"]


def test_json_bytes_do_not_depend_on_the_order_of_keys(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": 2})
    write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_jsonl_round_trip_with_line_separators_in_text(tmp_path):
    rows = [{"text": "a\u2028b\nc\x85"}, {"text": "ü"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows


def test_jsonl_without_rows(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [])
    assert read_jsonl(tmp_path / "rows.jsonl") == []


def test_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"a": 1}) + '\n{"a": \n')
    with pytest.raises(UserError, match="line 2"):
        read_jsonl(path)


def test_missing_and_damaged_files_are_named(tmp_path):
    for read in (read_json, read_jsonl, load_tensors):
        with pytest.raises(UserError, match="no such file"):
            read(tmp_path / "none")
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(UserError, match="cut short"):
        load_tensors(damaged)


def test_folder_is_no_file_of_tensors(tmp_path):
    with pytest.raises(IsADirectoryError):
        load_tensors(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"reason": 1}', "\u00e4"])
def test_what_is_no_such_record_is_refused(tmp_path, text):
    path = tmp_path / "timing.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as found:
        read_record(path, "seconds")
    assert str(found.value).startswith(f"{path}: not ")
    assert "delete it and run again" in str(found.value)
    path.write_text('{"seconds": 1.5, "more": 2}')
    assert read_record(path, "seconds")["more"] == 2


@pytest.mark.parametrize("line", ["3", "[1]", '"text"'])
def test_line_that_is_no_object_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n{line}\n')
    with pytest.raises(UserError, match="line 2: no JSON object"):
        read_jsonl(path)


HOLDS = "import sys, time, pathlib; from lorasb.files import locked\n"
HOLDS += "with locked(pathlib.Path('.lock')): print('holds', flush=True); time.sleep(60)"


def test_lock_of_a_killed_process_holds_nobody_up(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    ) as holding:
        assert holding.stdout.readline() == "holds\n"
        holding.send_signal(signal.SIGKILL)
    with locked(tmp_path / ".lock") as waited:
        assert not waited
    assert capsys.readouterr().err == ""
