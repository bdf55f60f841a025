from analysis.report.inputs import LATER, Tables


def test_a_release_of_before_there_were_sets_and_power_is_read(study, tmp_path):
    paths = {name: tmp_path / f"{name}.csv" for name in ("runs", "per_item", "losses", "paired")}
    study.runs.to_csv(paths["runs"], index=False)
    study.losses.to_csv(paths["losses"], index=False)
    study.per_item.drop(columns="set").to_csv(paths["per_item"], index=False)
    study.paired.drop(columns=["set", *LATER]).to_csv(paths["paired"], index=False)
    found = Tables.read(paths)
    assert set(found.per_item["set"]) == set(found.paired["set"]) == {""}
    assert found.paired[LATER].isna().all(axis=None)
    assert list(found.losses) == ["model", "task", "variant", "rank", "seed", "step"]
    assert found.counts is None
    assert {"runs", "sweep"} < set(Tables.names())
