import json

import pytest

from lorasb.errors import UserError
from lorasb.files import atomic, load_tensors, read_json, read_jsonl, write_json, write_jsonl


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


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
