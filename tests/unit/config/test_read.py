import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorasb.config import read as config
from lorasb.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


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


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("study: a\nstudy: b\n", "'study'", 2),
        ("study: a\nmore: {x: 1,\n y: 2,\n x: 3}\n", "'x'", 4),
        ("list:\n- {a: 1}\n- b: 1\n  c: 2\n  b: 3\n", "'b'", 5),
        ("1: a\ntrue: b\n", "True", 2),
    ],
)
def test_key_written_twice_is_refused_where_it_is_again(tmp_path, text, key, line):
    path = write(tmp_path / "config.yaml", text)
    with pytest.raises(UserError, match=f"key {key} appears twice at line {line}, column"):
        config.read_yaml(path, "config")


def test_a_mapping_may_be_merged_into_others(tmp_path):
    text = "description: a\nsettings: {a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}\n"
    read = config.read_yaml(write(tmp_path / "p.yaml", text), "protocol")
    assert read["settings"]["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"study: [a\n", "not valid YAML: while parsing a flow sequence"),
        (b"study: a\n\tb: c\n", "not valid YAML: "),
        (b"study: a\n--- \nstudy: b\n", "not valid YAML: expected a single document"),
        (b"study: !!python/object:os.system a\n", "not valid YAML: could not determine"),
        (b"a: b\nstudy: qu\xffick\n", "line 2 is not UTF-8; save"),
        ("study: café\n".encode("latin-1"), "line 1 is not UTF-8; save"),
        ("study: a\n".encode("utf-16"), "line 1 is not UTF-8; save"),
        (b"", "an empty file; it should have the keys study"),
        (b"# a remark\n", "an empty file; it should have the keys study"),
        (b"- study\n", r"\['study'\] is not a mapping; it should have the keys study"),
        (b"quickstart\n", "'quickstart' is not a mapping; it should have the keys study"),
        (b"2: a\nb: c\nstudy: d\n", "unknown key 2, 'b'; known: on_failure, study"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: .*{message}") as caught:
        config.read_yaml(path, "config")
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_one_line(project):
    (project / "config/studies/mine.yaml").mkdir()
    with pytest.raises(UserError, match=r"mine.yaml: Is a directory; it should be a file"):
        config.load_study("mine")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"config.yaml: Permission denied; it should be a file"):
        config.read_yaml(tmp_path / "config.yaml", "config")


def test_a_date_is_a_text(tmp_path):
    path = write(tmp_path / "p.yaml", "description: 2020-13-45\nsettings: {}\n")
    assert config.read_yaml(path, "protocol")["description"] == "2020-13-45"


def test_unknown_name_suggests_the_nearest(project):
    with pytest.raises(UserError, match="unknown study 'quickstrat'; did you mean 'quickstart'"):
        config.load_study("quickstrat")
    with pytest.raises(UserError, match="unknown model 'nope'"):
        config.load_model_config("nope")


# other spellings, what is no number, and what trains at 0 or for ever
@pytest.mark.parametrize(
    "rate",
    [
        *("1.0e-4", "0.0001", "1e-04x", "10e-5", "1.50e-4", "1e-04", "1E-4", "'0.0001'", "'1e-4 '"),
        *("1e-999", "1e-50", "'nan'", "'inf'", "-1e-4", "'0'", "0", "2e-01", "1e1"),
    ],
)
def test_learning_rate_in_another_form_is_refused(project, rate):
    study = project / "config/studies/quickstart.yaml"
    text = study.read_text().replace(
        "learning_rates: selected", f"learning_rates: {{full: {rate}}}"
    )
    study.write_text(text)
    with pytest.raises(UserError, match=r"learning_rates.*like '1e-4'") as caught:
        config.load_study("quickstart")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", ["1e-4", "2.5e-3", "1.25e-2", "1e-0", "9e-12"])
def test_learning_rate_in_its_one_form_is_taken(project, rate):
    path = project / "config/studies/quickstart.yaml"
    text = path.read_text()
    path.write_text(text.replace("rates: selected", f"rates: {{full: '{rate}'}}"))
    assert config.load_study("quickstart")["learning_rates"] == {"full": rate}


def test_another_spelling_of_a_rate_is_told_its_own(project):
    path = project / "config/studies/quickstart.yaml"
    path.write_text(path.read_text().replace('"2e-4", "5e-4"', '"2e-4", "2e-04"'))
    message = r"sweep.learning_rates.full.1: '2e-04' has the one spelling '2e-4'; write"
    with pytest.raises(UserError, match=message):
        config.load_study("quickstart")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ranks: [8]", "ranks: [8.0]"),
        ("ranks: [8]", "ranks: [010]"),
        ("ranks: [8]", "ranks: [true]"),
        ("ranks: [8]", "ranks: [0]"),
        ("seeds: [0, 1, 2]", "seeds: [0, 1.0]"),
        ("seeds: [0, 1, 2]", "seeds: [-1]"),
        ("seeds: [0, 1, 2]", "seeds: [1:30]"),
        ("seeds: [0, 1, 2]", f"seeds: [{10**25}]"),
    ],
)
def test_a_number_that_names_a_folder_has_one_spelling(project, old, new):
    path = project / "config/studies/quickstart.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=r"config/studies/quickstart.yaml: ") as caught:
        config.load_study("quickstart")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1.0e+999", str(10**40)])
@pytest.mark.parametrize(
    ("file", "text", "key"),
    [
        ("methods/mine.yaml", "arguments: {{scaling: {}}}", "arguments.scaling"),
        ("methods/mine.yaml", "arguments: {{deep: [{{x: {}}}]}}", "arguments.deep.0.x"),
        ("tasks/mine.yaml", "sampling: {{top_p: {}}}", "sampling.top_p"),
        ("studies/mine.yaml", "settings: {{training: {{steps: {}}}}}", "settings.training.steps"),
        ("models/mine.yaml", "label: [0, {}]", "label.1"),
    ],
)
def test_a_number_without_a_size_is_refused_in_every_file(project, file, text, key, number):
    path = write(project / "config" / file, text.format(number) + "\n")
    with pytest.raises(UserError, match=rf"{file}: {key}: .* is out of range") as caught:
        config.read_yaml(path, path.parent.name.removesuffix("s").replace("studie", "study"))
    assert "\n" not in str(caught.value)


def test_a_number_that_yaml_takes_for_a_text_is_told_how_to_be_one(tmp_path):
    text = (ROOT / "config/defaults.yaml").read_text()
    path = write(tmp_path / "d.yaml", text.replace("weight_decay: 0.0", "weight_decay: 1e-2"))
    with pytest.raises(UserError, match=r"'1e-2' is not of type 'number'; .* as in 1.0e-3"):
        config.read_yaml(path, "settings")


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
        ("protocols", config.load_protocol),
    ],
)
def test_every_shipped_file_fits_its_schema(folder, load):
    found = config.names(folder)
    assert found
    for name in found:
        load(name)


def test_a_template_is_there_to_be_extended_alone(project):
    write(project / "config/studies/_half.yaml", "seeds: [7]\n")
    text = (project / "config/studies/quickstart.yaml").read_text()
    assert "\nseeds: [0, 1, 2]\n" in text
    study(project, "whole", "extends: _half\n" + text.replace("\nseeds: [0, 1, 2]\n", "\n"))
    assert "whole" in config.names("studies")
    assert "_half" not in config.names("studies")
    assert config.load_study("whole")["seeds"] == [7]
    with pytest.raises(UserError, match=r"_half.yaml: a template, .* is no study itself"):
        config.load_study("_half")
    study(project, "whole", "extends: _hafl\n")
    with pytest.raises(UserError, match="unknown study '_hafl'; did you mean '_half'"):
        config.load_study("whole")


def test_every_shipped_variant_is_read():
    assert len(config.variants()) > len(config.names("methods")) > 0
    for name in config.variants():
        assert config.load_variant(name)["label"]


def keys(schema: Any) -> set[str]:
    """The keys that a schema knows, at every depth."""
    if isinstance(schema, list):
        return set().union(*map(keys, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*map(keys, schema.values()))


def explained(heading: str) -> set[str]:
    """What `config/README.md` explains in one of its chapters."""
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    (chapter,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`(\w+)`", chapter))


@pytest.mark.parametrize("kind", ["study", "protocol", "model", "task", "method"])
def test_every_key_is_explained(kind):
    schema = (ROOT / f"lorasb/config/schemas/{kind}.schema.yaml").read_text(encoding="utf-8")
    known = keys(yaml.safe_load(schema))
    assert len(known) > 2
    assert known <= explained(f"A {kind}")


def test_every_argument_of_a_method_is_explained():
    arguments = [config.load_variant(name).get("arguments", {}) for name in config.variants()]
    assert set().union(*arguments) <= explained("A method")


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
        ("extends: empty\n", r"empty.yaml: an empty file; it should have the keys desc"),
    ],
)
def test_bad_extension_is_one_clear_line(project, text, message):
    study(project, "child", text)
    study(project, "other", "extends: child\n")
    study(project, "empty", "")
    with pytest.raises(UserError, match=message):
        config.load_study("child")


MINE = """
method: lora-sb
label: Mine
style: {color: "#0072B2", marker: "", line: "--"}
samples: 3
arguments: {scaling: 1.0, options: {r: rank, deep: 1}}
"""


def mine(project: Path, variants: str, name: str = "mine") -> None:
    write(project / f"config/methods/{name}.yaml", f"{MINE}variants: {{{variants}}}\n")


def test_a_variant_inside_a_file_is_laid_over_what_the_file_states(project):
    mine(project, "a: {label: A, arguments: {options: {deep: 2}}}, b0.5: {label: B, method: full}")
    write(project / "config/methods/mine-own.yaml", "method: full\nlabel: Own\n")
    assert [name for name in config.variants() if name.startswith("mine")] == [
        *("mine", "mine-a", "mine-b0.5", "mine-own"),
    ]
    own = config.load_variant("mine")
    del own["style"]
    assert own == {
        "method": "lora-sb",
        "label": "Mine",
        "samples": 3,
        "arguments": {"scaling": 1.0, "options": {"r": "rank", "deep": 1}},
    }
    arguments = {"scaling": 1.0, "options": {"r": "rank", "deep": 2}}
    assert config.load_variant("mine-a") == own | {"label": "A", "arguments": arguments}
    assert config.load_variant("mine-b0.5") == own | {"label": "B", "method": "full"}
    assert config.load_variant("mine-own") == {"method": "full", "label": "Own"}


def test_a_style_is_that_of_one_variant_alone(project):
    mine(project, "a: {label: A}, b: {label: B, style: {color: '#000000', marker: s, line: '-'}}")
    assert config.load_variant("mine")["style"] == {"color": "#0072B2", "marker": "", "line": "--"}
    assert "style" not in config.load_variant("mine-a")
    assert config.load_variant("mine-b")["style"]["color"] == "#000000"


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("a: {label: A, extends: lora}", "variants.a: unknown key 'extends'; known: arguments"),
        ("a: {label: A, variants: {}}", "variants.a: unknown key 'variants'; known: arguments"),
        ("a: {samples: 1}", "variants.a: 'label' is a required property"),
        ("a: {label: A, samples: 0}", "variants.a.samples: 0 is less than the minimum"),
        (
            "a: {label: A, style: {color: red, marker: s, line: '-'}}",
            "variants.a.style.color: 'red'",
        ),
        (
            "a: {label: A, style: {color: '#123456', marker: s}}",
            "variants.a.style: 'line' is a req",
        ),
        (
            "a: {label: A, style: {color: '#123456', marker: s, line: _}}",
            "variants.a.style.line: '_'",
        ),
        ("a: null", "variants.a: None is not of type 'object'"),
        ("", "variants: {} should be non-empty"),
        ("A: {label: A}", "variants: 'A' does not match .* lower-case letters"),
        ("a_b: {label: A}", "variants: 'a_b' does not match .* lower-case letters"),
        ("10: {label: A}", "variants: 10 is not of type 'string'; .* quote a number"),
    ],
)
def test_bad_variant_is_one_clear_line(project, variants, message):
    mine(project, variants)
    with pytest.raises(UserError, match=f"config/methods/mine.yaml: {message}") as caught:
        config.load_variant("mine-a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "inside", "twice"), [("mine-a", "b", "mine-a"), ("mine-a", "a-b", "mine-a-b")]
)
def test_a_name_that_two_files_could_mean_is_refused(project, name, inside, twice):
    mine(project, f"{inside}: {{label: A}}, a: {{label: A}}")
    mine(project, "b: {label: B}", name)
    message = f"config/methods: mine.yaml and {name}.yaml both have a variant 'mine-a.*'; rename"
    for ask in (config.variants, lambda: config.load_variant(twice)):
        with pytest.raises(UserError, match=message):
            ask()


def test_an_unknown_variant_suggests_the_nearest(project):
    with pytest.raises(UserError, match="unknown variant 'lora-sb-n7'; did you mean 'lora-sb-n"):
        config.load_variant("lora-sb-n7")
    with pytest.raises(UserError, match="unknown variant 'lora-'; did you mean 'lora'"):
        config.load_variant("lora-")


def test_a_method_cannot_extend(project):
    write(project / "config/methods/child.yaml", "extends: lora\nlabel: child\n")
    with pytest.raises(UserError, match="unknown key 'extends'"):
        config.load_variant("child")


def test_names_outside_the_project_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run from the project's root"):
        config.load_variant("lora")


def test_the_comments_of_a_file_and_of_what_it_extends_wherever_they_lie(project, monkeypatch):
    own = project / "own/tasks/mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# Rows of\n# my own.\n\n# and this is of a key\nextends: cola\n")
    monkeypatch.setenv("LORASB_CONFIG", "own")
    found = config.opening_comments("tasks", "mine")
    assert [path.name for path in found] == ["mine.yaml", "cola.yaml", "_glue.yaml"]
    assert found[Path("own/tasks/mine.yaml")] == "Rows of\nmy own."
    assert "No licence stated" in found[Path("config/tasks/cola.yaml")]
