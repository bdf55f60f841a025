from pathlib import Path

import pytest

from lorasb.config import read as config
from lorasb.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_merge_keeps_what_is_not_changed_and_modifies_neither():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    changes = {"a": {"c": 5}}
    assert config.merge(base, changes) == {"a": {"b": 1, "c": 5}, "d": 3}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    assert changes == {"a": {"c": 5}}


def test_unknown_key_is_named_with_the_known_ones(tmp_path):
    path = write(tmp_path / "config.yaml", "stduy: quickstart\nstudy: quickstart\n")
    with pytest.raises(UserError, match=r"unknown key 'stduy'; known: .*study"):
        config.read_yaml(path, "config")


def test_missing_key_is_named(tmp_path):
    path = write(tmp_path / "config.yaml", "{}\n")
    with pytest.raises(UserError, match="'study' is a required property"):
        config.read_yaml(path, "config")


def test_key_written_twice_is_refused(tmp_path):
    path = write(tmp_path / "config.yaml", "study: a\nstudy: b\n")
    with pytest.raises(UserError, match="key 'study' appears twice"):
        config.read_yaml(path, "config")


def test_broken_yaml_is_one_line(tmp_path):
    path = write(tmp_path / "config.yaml", "study: [a\n")
    with pytest.raises(UserError, match="not valid YAML") as caught:
        config.read_yaml(path, "config")
    assert "\n" not in str(caught.value)


def test_unknown_name_suggests_the_nearest(project):
    with pytest.raises(UserError, match="unknown study 'quickstrat'; did you mean 'quickstart'"):
        config.load_study("quickstrat")
    with pytest.raises(UserError, match="unknown model 'nope'"):
        config.load_model_config("nope")


@pytest.mark.parametrize("rate", ["1.0e-4", "0.0001", "1e-04x", "10e-5", "1.50e-4"])
def test_learning_rate_in_another_form_is_refused(project, rate):
    study = project / "config/studies/quickstart.yaml"
    text = study.read_text().replace(
        "learning_rates: selected", f"learning_rates: {{full: {rate}}}"
    )
    study.write_text(text)
    with pytest.raises(UserError, match=r"learning_rates.*like '1e-4'"):
        config.load_study("quickstart")


@pytest.mark.parametrize("change", ["tasks: []", "seeds: []", "models: []"])
def test_empty_grid_is_refused(project, change):
    study = project / "config/studies/glue-minilm-smoke.yaml"
    key = change.split(":")[0]
    lines = [
        change if line.startswith(f"{key}:") else line for line in study.read_text().splitlines()
    ]
    study.write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"{key}.*empty grid"):
        config.load_study("glue-minilm-smoke")


@pytest.mark.parametrize(
    ("folder", "load"),
    [
        ("studies", config.load_study),
        ("models", config.load_model_config),
        ("tasks", config.load_task_config),
        ("methods", config.load_variant),
        ("protocols", config.load_protocol),
    ],
)
def test_every_shipped_file_fits_its_schema(folder, load):
    found = config.names(folder)
    assert found
    for name in found:
        load(name)


def study(project: Path, name: str, text: str) -> None:
    write(project / f"config/studies/{name}.yaml", text)


def test_a_file_is_laid_over_the_one_it_extends(project):
    study(project, "child", "extends: quickstart\ntasks: [world]\nsettings: {probe: {rows: 3}}\n")
    study(project, "grandchild", "extends: child\nvariants: {lora: {ranks: [2]}}\n")
    parent, found = config.load_study("quickstart"), config.load_study("grandchild")
    assert found["tasks"] == ["world"]  # a list is replaced
    assert found["settings"] == config.merge(parent["settings"], {"probe": {"rows": 3}})
    assert found["variants"] == {**parent["variants"], "lora": {"ranks": [2]}}
    assert "extends" not in found
    assert parent["tasks"] != ["world"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: quickstrat\n", r"child.yaml: extends: unknown study 'quickstrat'; did you mean"),
        ("extends: [quickstart]\n", "extends: .* is not the name of a file in config/studies"),
        ("extends: child\n", "extends: child -> child: a study cannot extend itself"),
        ("extends: other\n", "extends: child -> other -> child: a study cannot extend itself"),
        ("extends: quickstart\ntaks: [world]\n", r"child.yaml: .*unknown key 'taks'; known: .*ext"),
        ("extends: quickstart\nseeds: []\n", "child.yaml: seeds: .*empty grid"),
        ("extends: empty\n", r"empty.yaml: top level: None is not of type 'object'"),
    ],
)
def test_bad_extension_is_one_clear_line(project, text, message):
    study(project, "child", text)
    study(project, "other", "extends: child\n")
    study(project, "empty", "")
    with pytest.raises(UserError, match=message):
        config.load_study("child")


def test_variants_cannot_extend(project):
    write(project / "config/methods/child.yaml", "extends: lora\nlabel: child\n")
    with pytest.raises(UserError, match="unknown key 'extends'"):
        config.load_variant("child")


def test_what_the_authors_tasks_change(project):
    for name in ("metamath", "commonsense"):
        plain, authors = config.load_task_config(name), config.load_task_config(f"{name}-authors")
        changed = {key for key in authors if authors[key] != plain.get(key)}
        assert changed - {"prompt"} == {"label", "splits", "stop"}
        prompts = [one["prompt"] for one in authors["splits"]["test"]["sets"].values()]
        assert all(prompt != authors["prompt"] for prompt in prompts)
