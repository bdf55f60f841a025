from dataclasses import replace

import pytest

from lorasb import grid, resolve
from lorasb.config import load_study
from lorasb.errors import UserError
from lorasb.grid import Cell

CELL = Cell("quickstart", "quickstart-llama", "world", "lora-sb", 16, "1e-2", 0)
STUDY = "config/studies/quickstart.yaml"
SMOKE = "glue-minilm-smoke"
SMOKE_FILE = f"config/studies/{SMOKE}.yaml"


def changed(root, file, old, new):
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_task_settings_win_over_the_studys_and_these_over_defaults():
    world = resolve.resolve("quickstart", "quickstart-llama", "world").settings
    arithmetic = resolve.resolve("quickstart", "quickstart-llama", "arithmetic").settings
    assert world["training"]["steps"] != arithmetic["training"]["steps"]
    assert world["training"]["batch_size"] == arithmetic["training"]["batch_size"] == 32


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config/defaults.yaml", "weight_decay: 0.0", "weight_decay: 0.1"),
        ("config/methods/lora-sb.yaml", "scaling: 1.0", "scaling: 2.0"),
        ("config/tasks/world.yaml", "data_version: 2", "data_version: 3"),
        ("config/defaults.yaml", "samples: 64", "samples: 32"),
        ("config/models/quickstart-llama.yaml", "q_proj, ", ""),
    ],
)
def test_hash_changes_with_what_training_depends_on(project, file, old, new):
    before = resolve.cell_hash(CELL)
    changed(project, file, old, new)
    assert resolve.cell_hash(CELL) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config/defaults.yaml", "batch_size: 128", "batch_size: 64"),  # of prediction
        ("config/methods/lora-sb.yaml", "label: LoRA-SB", "label: another name"),
        ("config/tasks/world.yaml", "score_version: 1", "score_version: 2"),
        ("config/methods/lora-xs.yaml", "scaling: 1.0", "scaling: 2.0"),
        ("config/defaults.yaml", "random_draws: 20", "random_draws: 30"),
    ],
)
def test_hash_does_not_change_with_what_it_does_not(project, file, old, new):
    before = resolve.cell_hash(CELL)
    changed(project, file, old, new)
    assert resolve.cell_hash(CELL) == before


@pytest.mark.parametrize(
    ("old", "new", "data", "score"),
    [
        ("flexible: true_false", "flexible: choice", False, True),
        ("flexible: choice", "flexible: option", False, True),
        ("from: boolq", "from: piqa", True, False),
        ("label: BoolQ", "label: another name", False, False),
        ("score_version: 1", "score_version: 2", False, True),
        ("max_new_tokens: 32", "max_new_tokens: 16", True, False),
    ],
)
def test_rules_of_evaluation_sets_concern_scoring_alone(project, old, new, data, score):
    changed(project, STUDY, "tasks: [", "tasks: [commonsense, ")
    names = ("quickstart", "quickstart-llama", "commonsense")
    before = resolve.data_hash(*names), resolve.score_hash("commonsense")
    changed(project, "config/tasks/commonsense.yaml", old, new)
    after = resolve.data_hash(*names), resolve.score_hash("commonsense")
    assert (before[0] != after[0], before[1] != after[1]) == (data, score)


def test_only_methods_that_start_from_a_gradient_depend_on_its_settings(project):
    other = Cell("quickstart", "quickstart-llama", "world", "lora-xs", 16, "1e-2", 0)
    before = resolve.cell_hash(other)
    changed(project, "config/defaults.yaml", "samples: 64", "samples: 32")
    assert resolve.cell_hash(other) == before


def test_a_variant_may_have_its_own_number_of_samples(project):
    names = ("quickstart", "quickstart-llama", "world")
    own = Cell(*names, "lora-sb-n5", 16, "1e-2", 0)
    assert resolve.gradient_samples(*names, "lora-sb") == 64
    assert resolve.gradient_samples(*names, "lora-sb-n5") == 5
    assert str(resolve.gradient_path(own, grid.GRADIENT)).endswith("/world/n5/seed0")
    assert str(resolve.gradient_path(CELL, grid.GRADIENT)).endswith("/world/n64/seed0")
    assert resolve.cell_hash(own) != resolve.cell_hash(replace(own, variant="lora-sb"))
    changed(project, "config/methods/lora-sb.yaml", "samples: 5}", "samples: 64}")
    assert resolve.cell_hash(own) == resolve.cell_hash(replace(own, variant="lora-sb"))


def test_samples_of_a_method_without_a_gradient_are_refused(project):
    changed(project, "config/methods/lora-xs.yaml", "arguments:", "samples: 5\narguments:")
    with pytest.raises(UserError, match=r"lora-xs: samples: .* starts from no gradient"):
        resolve.check_study("quickstart")


POINTS = [("lora-sb", 16), ("lora-xs", 16), ("full", 0), ("lora-sb-noise1", 16)]


def hashes():
    names = ("quickstart", "quickstart-llama", "world")
    shared = [
        resolve.data_hash(*names),
        resolve.gradient_hash(*names, 64),
        resolve.factors_hash(*names, 64),
    ]
    return shared + [resolve.point_hash(*names, *point) for point in POINTS]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # data, gradient, factors, then the points
        ("svd: converged", "svd: one-pass", [0, 0, 1, 1, 0, 0, 1]),
        ("learning_rate: first-step", "learning_rate: loader-warmup", [0, 0, 0, 1, 0, 0, 1]),
        ("epoch: last", "epoch: best", [0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_options_are_hashed_where_they_are_not_the_default(project, old, new, expected):
    before = hashes()
    changed(project, "config/defaults.yaml", old, new)
    assert [int(a != b) for a, b in zip(before, hashes(), strict=True)] == expected


def test_sampling_makes_training_and_predictions_run_again(project):
    """Draws are made for a batch at a time, so its size counts then."""
    names = ("quickstart", "quickstart-llama", "arithmetic")
    point = (*names, "lora-sb", 16)
    seen = [(resolve.data_hash(*names), resolve.point_hash(*point))]
    path = project / "config/tasks/arithmetic.yaml"
    path.write_text(path.read_text() + "sampling: {temperature: 0.1, top_p: 0.75, top_k: 40}\n")
    seen.append((resolve.data_hash(*names), resolve.point_hash(*point)))
    changed(project, STUDY, "batch_size: 300", "batch_size: 30")
    seen.append((resolve.data_hash(*names), resolve.point_hash(*point)))
    data, points = zip(*seen, strict=True)
    assert data[0] != data[1] == data[2]
    assert len(set(points)) == 3


def test_the_best_epoch_depends_on_how_it_is_scored(project):
    def scored(version: int) -> str:
        changed(
            project,
            "config/tasks/world.yaml",
            f"score_version: {version - 1}",
            f"score_version: {version}",
        )
        return resolve.point_hash("quickstart", "quickstart-llama", "world", "lora-sb", 16)

    assert scored(2) == scored(3)
    changed(project, "config/defaults.yaml", "epoch: last", "epoch: best")
    assert scored(4) != scored(5)


def test_options_at_their_defaults_are_in_no_hash(monkeypatch):
    """A published table of learning rates has this hash."""
    rate = grid.selected_rates("quickstart")["quickstart-llama", "world", "lora-sb", "16"]
    point = ("quickstart", "quickstart-llama", "world", "lora-sb", 16)
    assert resolve.point_hash(*point) == rate["settings"]
    monkeypatch.setattr(resolve, "UNHASHED", {})
    assert resolve.point_hash(*point) != rate["settings"]


def test_what_is_kept_is_part_of_a_final_cells_hash_alone(project, monkeypatch):
    tuned = Cell("quickstart", "quickstart-llama", "world", "lora-sb", 16, "1e-2", 100)
    before = [resolve.cell_hash(cell) for cell in (CELL, tuned)]
    monkeypatch.setattr(resolve, "SNAPSHOTS", 99)
    after = [resolve.cell_hash(cell) for cell in (CELL, tuned)]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_two_kept_steps_are_too_few(project):
    changed(project, "config/defaults.yaml", "points: 6", "points: 2")
    with pytest.raises(UserError, match=r"probe.points: .* at least 3 \(start, first and last"):
        resolve.resolve("quickstart", "quickstart-llama", "world")


def test_rank_lr_and_seed_are_part_of_the_hash():
    hashes = {
        resolve.cell_hash(Cell(*vars(CELL).values())),
        resolve.cell_hash(Cell(*(*list(vars(CELL).values())[:4], 4, "1e-2", 0))),
        resolve.cell_hash(Cell(*(*list(vars(CELL).values())[:4], 16, "2e-2", 0))),
        resolve.cell_hash(Cell(*(*list(vars(CELL).values())[:4], 16, "1e-2", 1))),
    }
    assert len(hashes) == 4


def test_steps_and_epochs_exclude_each_other(project):
    changed(project, STUDY, "epochs: null", "epochs: 1")
    with pytest.raises(UserError, match=r"training\.steps and training\.epochs: give one"):
        resolve.resolve("quickstart", "quickstart-llama", "world")


def test_the_best_epoch_is_predicted_in_the_training_process(project):
    changed(project, "config/defaults.yaml", "epoch: last", "epoch: best")
    resolve.resolve("quickstart", "quickstart-llama", "world")
    changed(project, STUDY, "with_training: true", "with_training: false")
    message = r"settings of world.*prediction\.epoch: best predicts along training"
    with pytest.raises(UserError, match=message):
        resolve.resolve("quickstart", "quickstart-llama", "world")
    # the rules do not know what a task changes
    changed(
        project,
        STUDY,
        "task_settings:\n",
        "task_settings:\n  world: {prediction: {with_training: true}}\n",
    )
    with pytest.raises(UserError, match=message):
        resolve.resolve("quickstart", "quickstart-llama", "world")


def test_a_rate_by_the_loaders_warmup_needs_one(project):
    changed(project, "config/defaults.yaml", "rate: first-step", "rate: loader-warmup")
    resolve.resolve("quickstart", "quickstart-llama", "world")
    changed(project, "config/defaults.yaml", "warmup_ratio: 0.06", "warmup_ratio: 0")
    with pytest.raises(UserError, match=r"settings of world.*training\.warmup_ratio, which is 0"):
        resolve.resolve("quickstart", "quickstart-llama", "world")


def test_unknown_key_of_a_studys_settings_is_named(project):
    changed(project, STUDY, "checkpoint_steps: 40", "checkpoint_step: 40")
    with pytest.raises(UserError, match="unknown key 'checkpoint_step'"):
        resolve.resolve("quickstart", "quickstart-llama", "world")


def test_settings_of_a_task_that_is_not_in_the_study_are_refused(project):
    changed(project, STUDY, "task_settings:\n  arithmetic:", "task_settings:\n  arithmetics:")
    with pytest.raises(UserError, match=r"task_settings\.arithmetics: not a task of this study"):
        resolve.resolve("quickstart", "quickstart-llama", "world")


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"), [(7, None, 7), (None, 1, 4), (None, 0.5, 2), (None, 2, 7)]
)
def test_total_steps_rounds_up(steps, epochs, expected):
    training = {"steps": steps, "epochs": epochs, "batch_size": 10, "gradient_accumulation": 3}
    assert resolve.total_steps({"training": training}, rows=100) == expected


@pytest.fixture
def selected(project):
    """A project whose smoke study has selected rates, chosen under its present settings."""
    study = project / SMOKE_FILE
    rates = load_study(SMOKE)["learning_rates"]
    fixed = next(line for line in study.read_text().splitlines() if "learning_rates" in line)
    changed(project, SMOKE_FILE, fixed, "learning_rates: selected")
    rows = [
        (*point, rates[point[2]], resolve.point_hash(SMOKE, *point)) for point in grid.points(SMOKE)
    ]
    lines = [("model", "task", "variant", "rank", "lr", "settings"), *rows]
    text = "\n".join("\t".join(map(str, line)) for line in lines)
    (project / grid.selected_rates_path(SMOKE)).write_text(text)
    grid.selected_rates.cache_clear()
    yield project
    grid.selected_rates.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("config/tasks/mrpc.yaml", "label: MRPC", "label: MRPC\ndata_version: 2", {"mrpc"}),
        (SMOKE_FILE, "steps: 8", "steps: 9", {"mrpc", "stsb"}),
        (SMOKE_FILE, "seeds: [0]", "seeds: [0, 1]", set()),
        ("config/tasks/_glue.yaml", "data_version: 1", "data_version: 2", {"mrpc", "stsb"}),
        ("config/tasks/_glue.yaml", "score_version: 1", "score_version: 2", set()),
    ],
)
def test_rates_chosen_under_other_settings_are_stale(selected, file, old, new, stale):
    assert resolve.stale_rates(SMOKE) == []
    changed(selected, file, old, new)
    assert {line.split(",")[0] for line in resolve.stale_rates(SMOKE)} == stale


def test_fixed_rates_are_never_stale(project):
    changed(project, SMOKE_FILE, "steps: 8", "steps: 9")
    assert resolve.stale_rates(SMOKE) == []


PROTOCOL = """
description: another one
settings:
  training: {weight_decay: 0.5, steps: 7}
  gradient: {samples: 3}
"""


def test_protocol_lies_between_defaults_and_study(project):
    (project / "config/protocols/other.yaml").write_text(PROTOCOL)
    before = resolve.resolve(SMOKE, "all-minilm-l6-v2", "mrpc").settings
    changed(project, SMOKE_FILE, "seeds: [0]", "protocol: other\nseeds: [0]")
    after = resolve.resolve(SMOKE, "all-minilm-l6-v2", "mrpc").settings
    assert after["training"] == before["training"] | {"weight_decay": 0.5}  # steps: the study's
    assert after["gradient"] == before["gradient"]


def test_the_suites_protocol_is_the_defaults(project):
    before = resolve.cell_hash(CELL)
    changed(project, STUDY, "seeds: [0, 1, 2]", "protocol: suite\nseeds: [0, 1, 2]")
    assert resolve.cell_hash(CELL) == before


def test_unknown_protocol_is_named(project):
    changed(project, SMOKE_FILE, "seeds: [0]", "protocol: authrs\nseeds: [0]")
    with pytest.raises(UserError, match="unknown protocol 'authrs'; did you mean 'authors'"):
        resolve.resolve(SMOKE, "all-minilm-l6-v2", "mrpc")


def test_known_numbers_of_rows_do_not_concern_the_hash(project):
    names = (SMOKE, "all-minilm-l6-v2", "mrpc")
    before = resolve.data_hash(*names)
    changed(project, "config/tasks/mrpc.yaml", ", rows: {train: 3668, validation: 408}", "")
    assert resolve.data_hash(*names) == before
    changed(project, "config/tasks/_glue.yaml", "rows: 500", "rows: 400")
    assert resolve.data_hash(*names) != before


def test_settings_of_an_extended_studys_tasks_can_be_dropped(project):
    text = "extends: quickstart\ntasks: [world]\n"
    (project / "config/studies/child.yaml").write_text(text)
    with pytest.raises(UserError, match=r"task_settings\.arithmetic: not a task of this study"):
        resolve.resolve("child", "quickstart-llama", "world")
    (project / "config/studies/child.yaml").write_text(text + "task_settings: null\n")
    resolve.resolve("child", "quickstart-llama", "world")


def test_the_authors_protocol():
    names = ("roberta-large", "cola-authors")
    settings = resolve.resolve("paper-glue-roberta-authors", *names).settings
    assert settings["training"]["weight_decay"] == 0.01
    assert settings["training"]["group_by_length"] is False
    assert settings["training"]["max_grad_norm"] == 0
    assert settings["training"]["epochs"] == 30
    assert settings["gradient"] == {
        "samples": 2,
        "batch_size": 128,
        "reduction": "batch-mean",
        "dropout": True,
        "memory_limit_bytes": None,
    }


@pytest.mark.parametrize(
    ("study", "arguments"),
    [
        ("quickstart", set()),
        ("ablation-scale", {"scaling"}),
        ("ablation-samples", {"samples"}),
        ("ablation-init", {"noise", "signal"}),
        ("directions-minilm", {"scaling", "samples", "start", "signal"}),
    ],
)
def test_arguments_that_vary_alone(study, arguments):
    assert resolve.varied_arguments(study) == arguments


def test_an_argument_that_varies_with_another_does_not_count(project):
    file = "config/methods/lora-sb.yaml"
    changed(project, file, "{scaling: 4.0}", "{scaling: 4.0, start: undivided}")
    changed(project, file, "{scaling: 0.25}", "{scaling: 1.0}")
    assert "scaling" not in resolve.varied_arguments("directions-minilm")


def test_evaluation_sets_are_found(project):
    assert not resolve.has_evaluation_sets("ablation-scale")
    changed(
        project, "config/studies/ablation-scale.yaml", "[arithmetic, world]", "[world, metamath]"
    )
    assert resolve.has_evaluation_sets("ablation-scale")
