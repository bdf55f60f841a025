import hashlib
import json

from lorasb.files import write_json
from lorasb.study.cells import Cell
from lorasb.tidy.origins import ORIGIN_COLUMNS, origins

FACTS = {
    **{"cell_hash": "a1", "commit": "c0ffee", "uncommitted_changes": False, "python": "3.11.7"},
    **{"packages": {"torch": "2", "peft": "1"}, "system": "Linux", "processor": "P"},
    **{"device": "cpu", "threads": 1},
}


def test_a_cell_carries_its_settings_its_code_and_the_hash_of_its_predictions(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    done, failed = (Cell("s", "m", "t", "v", 4, "1e-2", seed, "test") for seed in (0, 1))
    write_json(done.folder / "provenance.json", FACTS)
    write_json(done.folder / "config.json", {"b": 1, "a": {"lr": "1e-2"}})
    (done.folder / "predictions.jsonl").write_bytes(b"{}\n")
    table = origins([done, failed])
    assert list(table) == ORIGIN_COLUMNS
    row, other = table.to_dict("records")
    assert row["folder"] == "results/s/runs/m/t/v/r4/lr1e-2/seed0"
    assert row["predictions_sha256"] == hashlib.sha256(b"{}\n").hexdigest()
    assert json.loads(row["config"]) == {"a": {"lr": "1e-2"}, "b": 1}
    assert json.loads(row["packages"]) == FACTS["packages"]
    assert {name: row[name] for name in FACTS if name != "packages"} == {
        name: value for name, value in FACTS.items() if name != "packages"
    }
    # a cell without results has a folder, where its reason is
    assert other["folder"].endswith("seed1")
    assert table.loc[1, ["commit", "config", "predictions_sha256"]].isna().all()
