"""A study at the door: what it makes of its files, and what it refuses."""

import re

import pytest

from lorasb.config.read import Data, load_study, names
from lorasb.errors import UserError
from lorasb.study.cells import Cell, Point
from lorasb.study.paths import CELL as PATTERN
from lorasb.study.study import Study, refuse_foreign

POINT = Point("quickstart-llama", "world", "lora-sb", 16)
CELL = Cell("quickstart", *POINT, "1e-2", 0, "test")
STUDY = "config/studies/quickstart.yaml"
SMOKE = "glue-minilm-smoke"
SMOKE_FILE = f"config/studies/{SMOKE}.yaml"


def changed(root, file, old, new):
    path = root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def world():
    """The settings of a task, read afresh."""
    return Study("quickstart").settings("world")


def test_path_is_the_identity_of_a_cell():
    assert str(CELL.folder) == (
        "results/quickstart/runs/quickstart-llama/world/lora-sb/r16/lr1e-2/seed0"
    )
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", PATTERN)
    parts = re.fullmatch(pattern, str(CELL.folder)).groupdict()
    parts |= {"rank": int(parts["rank"].removeprefix("r")), "seed": int(parts["seed"])}
    assert Cell(**parts, split="test") == CELL


@pytest.mark.parametrize("name", names("studies"))
def test_cells_of_a_study_are_distinct_and_complete(name):
    study, data = Study(name), load_study(name)
    assert len(set(study.cells)) == len(study.cells)
    points = sum(
        len(entry.get("ranks", [0])) * len(entry.get("seeds", data["seeds"]))
        for entry in data["variants"].values()
    )
    assert len(study.cells) == points * len(data["models"]) * len(data["tasks"])


def test_sweep_cells_are_scored_on_selection_and_final_ones_on_test():
    assert {cell.split for cell in Study("quickstart").sweep_cells} == {"selection"}
    assert {cell.split for cell in Study("quickstart").cells} == {"test"}


def test_nothing_that_trains_nothing_is_swept():
    assert "base" not in {cell.variant for cell in Study("quickstart").sweep_cells}


def test_a_seed_of_the_sweep_cannot_be_reported(project):
    study = project / "config/studies/quickstart.yaml"
    study.write_text(study.read_text().replace("seeds: [0, 1, 2]", "seeds: [0, 100]"))
    with pytest.raises(UserError, match=r"sweep\.seeds has 100"):
        _ = Study("quickstart").cells


def test_missing_selected_rates_ask_for_the_sweep(project):
    (project / "config/studies/quickstart.selected_lr.tsv").unlink()
    with pytest.raises(UserError, match="run the target 'sweep'"):
        _ = Study("quickstart").cells


GRID = 'lora: ["5e-4", '
TRAINED = {
    ("full", 0),
    ("lora", 8),
    *((f"lora-{kind}", rank) for kind in ("xs", "sb") for rank in (4, 16)),
}


@pytest.mark.parametrize(
    ("file", "old", "new", "swept"),
    [
        (STUDY, "ranks: [8]", "ranks: [8]", set()),
        (STUDY, "ranks: [8]", "ranks: [8, 4]", {("lora", 4)}),
        (STUDY, GRID, 'lora: ["2e-4", "5e-4", ', {("lora", 8)}),  # a wider grid
        (STUDY, GRID, "lora: [", {("lora", 8)}),  # a smaller one
        ("config/methods/lora.yaml", "dropout: 0.0", "dropout: 0.1", {("lora", 8)}),
        ("config/defaults.yaml", "weight_decay: 0.0", "weight_decay: 0.1", TRAINED),
        (STUDY, "seeds: [100]", "seeds: [100, 101]", TRAINED),
    ],
)
def test_a_sweep_is_of_the_points_whose_rate_is_not_committed(project, file, old, new, swept):
    changed(project, file, old, new)
    study = Study("quickstart")
    found = {(point.variant, point.rank) for point in study.points_to_sweep}
    assert found == swept
    cells = study.scored_cells("selection")
    assert {(cell.variant, cell.rank) for cell in cells} == swept
    assert set(cells) == {c for c in study.sweep_cells if (c.variant, c.rank) in swept}


COORDINATES = {
    **{"model": "quickstart-llama", "task": "world", "variant": "lora-sb", "rank": 16},
    **{"lr": "2e-2", "seed": 0},
}


@pytest.mark.parametrize(
    ("changes", "split"),
    [
        ({}, "test"),
        ({"rank": "16", "seed": "0"}, "test"),
        ({"seed": 100, "lr": "5e-3"}, "selection"),
        ({"variant": "base", "rank": 0, "lr": "0"}, "test"),
        ({"variant": "full", "rank": 0, "lr": "1e-3", "seed": 2}, "test"),
    ],
)
def test_a_cell_of_the_study_is_made(changes, split):
    study, named = Study("quickstart"), COORDINATES | changes
    cell = study.cell(**named)
    assert cell in (study.cells if split == "test" else study.sweep_cells)
    assert {name: str(value) for name, value in cell.columns.items()} == {
        name: str(value) for name, value in named.items()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "mistral-7b"}, "unknown model 'mistral-7b'; known: quickstart-llama"),
        ({"task": "wrold"}, "unknown task 'wrold'; did you mean 'world'"),
        ({"variant": "dora"}, "unknown variant 'dora'"),
        ({"rank": 32}, "unknown rank '32'; known: 4, 16"),
        ({"rank": 0}, "unknown rank '0'"),
        ({"rank": "08"}, "unknown rank '08'"),
        ({"rank": 16.0}, r"unknown rank '16\.0'; did you mean '16'"),
        ({"variant": "full"}, "unknown rank '16'; known: 0"),
        ({"seed": 3}, "unknown seed '3'; known: 0, 1, 2, 100"),
        ({"seed": -1}, "unknown seed '-1'"),
        ({"seed": "00"}, "unknown seed '00'"),
        ({"variant": "base", "rank": 0, "seed": 1}, "unknown seed '1'; known: 0"),
        ({"variant": "base", "rank": 0, "seed": 100}, "unknown seed '100'; known: 0"),
        ({"variant": "base", "rank": 0}, "unknown lr '2e-2'; known: 0"),
        ({"lr": "0.02"}, "unknown lr '0.02'; known: 2e-2"),
        ({"lr": "2e-02"}, "unknown lr '2e-02'; did you mean '2e-2'"),
        # a rate of the sweep, at a seed that is scored on the test split
        ({"lr": "5e-3"}, "unknown lr '5e-3'; known: 2e-2"),
        ({"lr": "3e-3", "seed": 100}, "unknown lr '3e-3'.* known: 5e-3, 1e-2, 2e-2"),
    ],
)
def test_what_is_no_cell_of_the_study_is_refused(changes, message):
    with pytest.raises(UserError, match=f"^config/studies/quickstart.yaml: {message}"):
        Study("quickstart").cell(**COORDINATES | changes)


def test_the_files_of_each_cell_are_the_studys_own():
    study = Study("quickstart")
    for cell in [*study.cells, *study.sweep_cells]:
        refuse_foreign(f"{cell.folder}/predictions.jsonl")
        refuse_foreign(f"{cell.split_path}")
    for path in ("sweep", "--cores", "results/published/quickstart/tables", "config/config.yaml"):
        refuse_foreign(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("runs/quickstart-llama/world/lora-sb/r8/lr2e-2/seed0/adapter", "unknown rank '8'"),
        ("runs/quickstart-llama/world/lora-sb/r16/lr2e-2/seed07", "unknown seed '07'"),
        ("runs/quickstart-llama/world/lora-sb/r16.0/lr2e-2/seed0/x", r"unknown rank '16\.0'"),
        ("shared/data/quickstart-llama/wrold/train.parquet", "unknown task 'wrold'"),
        ("shared/gradients/quickstart-llama/world/n63/seed0/gradient.json", "samples '63'"),
        ("shared/factors/quickstart-llama/world/n64/seed9/factors.json", "unknown seed '9'"),
        ("shared/factors/mistral-7b/weights/factors.json", "unknown model 'mistral-7b'"),
        ("scores/quickstart-llama/wrold/test.metrics.csv", "unknown task 'wrold'"),
        ("directions/quickstart-llama/wrold.csv", "unknown task 'wrold'"),
    ],
)
def test_a_path_of_what_the_study_has_not_is_refused(path, message):
    with pytest.raises(UserError, match=message):
        refuse_foreign(f"results/quickstart/{path}")


def test_a_path_of_a_study_that_is_none_is_refused():
    with pytest.raises(UserError, match="unknown study 'quickstrat'; did you mean 'quickstart'"):
        refuse_foreign("results/quickstrat/tables/accuracy.md")


RATES = "config/studies/quickstart.selected_lr.tsv"
ROW = "quickstart-llama\tarithmetic\tlora\t8\t1e-2"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (ROW, f"{ROW}\n{ROW}", "line 4: a second rate for quickstart-llama, arithmetic, lora, 8"),
        (ROW, ROW.replace("1e-2", "1e-02"), "line 3.lr: '1e-02' has the one spelling '1e-2'"),
        (ROW, ROW.replace("1e-2", "0.01"), "line 3.lr: '0.01' has the one spelling '1e-2'"),
        (ROW, ROW.replace("1e-2", ""), "line 3.lr: '' is not a number"),
        (ROW, ROW.replace("\t8\t", "\t8.0\t"), "line 3.rank: '8.0' does not match"),
        (ROW, ROW.replace("\t8\t", "\t16\t"), "unknown rank '16'; known: 8"),
        (ROW, ROW.replace("lora", "lroa"), "unknown variant 'lroa'; did you mean 'lora'"),
        (ROW, ROW.replace("1e-2", "3e-2"), "3e-2 of .*lora, 8 is not among the rates of sweep"),
        ("\tlr\t", "\trate\t", r"line \d+: 'lr' is a required property; the columns of"),
        ("\t", ",", r"line \d+: 'model' is a required property"),
    ],
)
def test_a_wrong_table_of_rates_is_one_clear_line(project, old, new, message):
    changed(project, RATES, old, new)
    with pytest.raises(UserError, match=f"^{RATES}: .*{message}") as caught:
        _ = Study("quickstart").cells
    assert "\n" not in str(caught.value)


def test_ranks_must_fit_the_method(project):
    study = project / "config/studies/quickstart.yaml"
    text = study.read_text()
    study.write_text(text.replace("full: {}", "full: {ranks: [4]}"))
    with pytest.raises(UserError, match=r"variants\.full has no rank"):
        _ = Study("quickstart").sweep_cells
    study.write_text(text.replace("lora: {ranks: [8]}", "lora: {}"))
    with pytest.raises(UserError, match=r"variants\.lora needs a list 'ranks'"):
        _ = Study("quickstart").sweep_cells


@pytest.mark.parametrize("variant", ["lora", "dora", "pissa", "lora-pro", "lora-xs", "lora-sb"])
@pytest.mark.parametrize(("rank", "fits"), [(128, True), (129, False), (100_000, False)])
def test_a_rank_above_a_weight_is_refused_for_every_method(project, variant, rank, fits):
    entry = f"  {variant}: {{ranks: [{rank}]}}\n"
    text = (project / SMOKE_FILE).read_text().split("variants:\n")[0]
    text = text.replace("all-minilm-l6-v2", "quickstart-llama")
    text += f"variants:\n{entry}seeds: [0]\nlearning_rates: {{{variant}: 1e-3}}\n"
    (project / "config/studies/mine.yaml").write_text(text)
    if fits:
        assert Study("mine").largest_rank == rank
        return
    with pytest.raises(
        UserError, match=rf"ranks: rank {rank} is larger .* \(128 x \d+\) allows; at most 128"
    ):
        Study("mine")


def test_a_rank_is_held_against_the_smallest_weight_of_each_model(project):
    """Gemma's and Llama's keys and values are narrower than its other weights."""
    path = "config/studies/paper-commonsense-llama.yaml"
    ranks = re.search(r"lora: \{ranks: \[[0-9, ]+\]\}", (project / path).read_text())[0]
    changed(project, path, ranks, "lora: {ranks: [1024]}")
    Study("paper-commonsense-llama")
    changed(project, path, "lora: {ranks: [1024]}", "lora: {ranks: [1025]}")
    with pytest.raises(UserError, match=r"self_attn.k_proj' \(1024 x 3072\) .* at most 1024"):
        Study("paper-commonsense-llama")


@pytest.mark.parametrize("targets", ["[q_proj, v_porj]", "[v_porj]", "[query]", "[embed_tokens]"])
def test_a_target_that_matches_no_layer_is_refused_though_others_do(project, targets):
    path = project / "config/models/quickstart-llama.yaml"
    path.write_text(re.sub(r"target_modules: .*", f"target_modules: {targets}", path.read_text()))
    with pytest.raises(UserError, match=r"^config/models/quickstart-llama.yaml, in .*quickstart"):
        Study("quickstart")


def test_a_model_whose_shape_no_file_has_is_read(project):
    """Its ranks are checked when its weights are there."""
    changed(project, "config/models/quickstart-llama.yaml", "resources/quickstart/model", "nowhere")
    assert Study("quickstart").cells


def test_largest_rank_is_over_all_variants():
    assert Study("quickstart").largest_rank == 16


def test_fixed_rates_are_for_all_tasks_or_for_each(project):
    study = project / "config/studies/glue-minilm-smoke.yaml"
    text = study.read_text()
    study.write_text(text.replace('lora: "1e-3"', 'lora: {mrpc: "2e-3", stsb: "3e-3"}'))
    cells = Study("glue-minilm-smoke").cells
    rates = {(cell.variant, cell.task): cell.lr for cell in cells}
    assert rates["lora", "mrpc"] == "2e-3"
    assert rates["lora", "stsb"] == "3e-3"
    assert rates["full", "mrpc"] == rates["full", "stsb"] == "1e-4"
    study.write_text(text.replace('lora: "1e-3"', 'lora: {mrpc: "2e-3"}'))
    with pytest.raises(UserError, match=r"learning_rates\.lora has no 'stsb'"):
        _ = Study("glue-minilm-smoke").cells


def test_a_task_without_selection_rows_cannot_be_swept(project):
    message = r"paper-glue-roberta-authors.yaml: .*'cola' has an empty selection split"
    with pytest.raises(UserError, match=message):
        _ = Study("paper-glue-roberta-authors").sweep_cells


def test_every_other_study_of_the_paper_can_be_swept():
    for name in (name for name in names("studies") if name.startswith("paper-")):
        if name != "paper-glue-roberta-authors":
            study = Study(name)
            trained = [point for point in study.points if point.variant != "base"]
            assert len(study.sweep_cells) == 3 * len(trained)


def test_task_settings_win_over_the_studys_and_these_over_defaults():
    study = Study("quickstart")
    world, arithmetic = study.settings("world"), study.settings("arithmetic")
    assert world["training"]["steps"] != arithmetic["training"]["steps"]
    assert world["training"]["batch_size"] == arithmetic["training"]["batch_size"] == 32


def test_samples_of_a_method_without_a_gradient_are_refused(project):
    changed(project, "config/methods/lora-xs.yaml", "\narguments:", "\nsamples: 5\narguments:")
    with pytest.raises(UserError, match=r"lora-xs: samples: .* starts from no samples"):
        Study("quickstart")


def test_two_kept_steps_are_too_few(project):
    changed(project, "config/defaults.yaml", "points: 6", "points: 2")
    with pytest.raises(UserError, match=r"probe.points: .* at least 3 \(start, first and last"):
        world()


def test_steps_and_epochs_exclude_each_other(project):
    changed(project, STUDY, "epochs: null", "epochs: 1")
    with pytest.raises(UserError, match=r"training\.steps and training\.epochs: give one"):
        world()


def test_the_best_epoch_is_predicted_in_the_training_process(project):
    changed(project, "config/defaults.yaml", "epoch: last", "epoch: best")
    world()
    changed(project, STUDY, "with_training: true", "with_training: false")
    message = r"prediction\.epoch: best predicts along training"
    with pytest.raises(UserError, match=message):
        world()


def test_the_rules_do_not_know_that_a_task_predicts_with_training(project):
    own = "task_settings:\n  world: {prediction: {epoch: best, with_training: true}}\n"
    changed(project, STUDY, "task_settings:\n", own)
    world()
    changed(project, STUDY, "batch_size: 300, with_training: true", "with_training: false")
    message = r"settings of world.*prediction\.epoch: best predicts along training"
    with pytest.raises(UserError, match=message):
        world()


def test_a_rate_by_the_loaders_warmup_needs_one(project):
    changed(project, "config/defaults.yaml", "rate: first-step", "rate: loader-warmup")
    world()
    changed(project, "config/defaults.yaml", "warmup_ratio: 0.06", "warmup_ratio: 0")
    with pytest.raises(
        UserError, match=r"settings of arithmetic.*training\.warmup_ratio, which is 0"
    ):
        world()


def test_unknown_key_of_a_studys_settings_is_named(project):
    changed(project, STUDY, "checkpoint_steps: 40", "checkpoint_step: 40")
    with pytest.raises(UserError, match="unknown key 'checkpoint_step'"):
        world()


@pytest.mark.parametrize(
    ("old", "key", "most"),
    [
        ("max_length: 128", "training.max_length", 10_000_000),
        ("batch_size: 32", "training.batch_size", 65_536),
        ("gradient_accumulation: 1", "training.gradient_accumulation", 65_536),
        ("epochs: 1", "training.epochs", 100_000),
        ("batch_size: 16", "gradient.batch_size", 65_536),
        ("points: 6", "probe.points", 1_000),
        ("random_draws: 20", "probe.random_draws", 10_000),
        ("batch_size: 128", "prediction.batch_size", 65_536),
    ],
)
def test_sizes_that_no_machine_has_are_refused(project, old, key, most):
    name = old.partition(":")[0]
    changed(project, "config/defaults.yaml", f"  {old}\n", f"  {name}: {10**9}\n")
    with pytest.raises(UserError, match=f"{key}: {10**9} is greater than the maximum of {most}"):
        Study(SMOKE)


def test_settings_of_a_task_that_is_not_in_the_study_are_refused(project):
    changed(project, STUDY, "task_settings:\n  arithmetic:", "task_settings:\n  arithmetics:")
    with pytest.raises(UserError, match=r"task_settings\.arithmetics: not a task of this study"):
        world()


PROTOCOL = """
description: another one
settings:
  training: {weight_decay: 0.5, steps: 7}
  gradient: {samples: 3}
"""


def test_protocol_lies_between_defaults_and_study(project):
    (project / "config/protocols/other.yaml").write_text(PROTOCOL)
    before = Study(SMOKE).settings("mrpc")
    changed(project, SMOKE_FILE, "seeds: [0]", "protocol: other\nseeds: [0]")
    after = Study(SMOKE).settings("mrpc")
    assert after["training"] == before["training"] | {"weight_decay": 0.5}  # steps: the study's
    assert after["gradient"] == before["gradient"]


def test_unknown_protocol_is_named(project):
    changed(project, SMOKE_FILE, "seeds: [0]", "protocol: authrs\nseeds: [0]")
    with pytest.raises(UserError, match="unknown protocol 'authrs'; did you mean 'authors'"):
        Study(SMOKE)


def test_settings_of_an_extended_studys_tasks_can_be_dropped(project):
    text = "extends: quickstart\ntasks: [world]\n"
    (project / "config/studies/child.yaml").write_text(text)
    with pytest.raises(UserError, match=r"task_settings\.arithmetic: not a task of this study"):
        Study("child")
    (project / "config/studies/child.yaml").write_text(text + "task_settings: null\n")
    Study("child")


def test_the_authors_protocol():
    settings = Study("paper-glue-roberta-authors").settings("cola")
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


def tasks_of(study: str) -> tuple[Data, Data]:
    """The tasks of a study of the paper, and of its twin under the authors' protocol."""
    plain, authors = Study(study), Study(f"{study}-authors")
    assert list(plain.tasks) == list(authors.tasks)
    return plain.task_data, authors.task_data


@pytest.mark.parametrize(
    ("study", "task"),
    [("paper-arithmetic-mistral", "metamath"), ("paper-commonsense-llama", "commonsense")],
)
def test_what_the_authors_protocol_changes_of_generation_tasks(study, task):
    plain, authors = (data[task] for data in tasks_of(study))
    changed = {key for key in authors if authors[key] != plain.get(key)}
    assert changed - {"prompt"} == {"splits", "stop"}
    sets = authors["splits"]["test"]["sets"]
    assert all(one["prompt"] != authors["prompt"] for one in sets.values())
    labels = {name: one["label"] for name, one in plain["splits"]["test"]["sets"].items()}
    assert {name: one["label"] for name, one in sets.items()} == labels


def test_the_authors_protocol_trains_on_all_rows_of_glue():
    plain, authors = tasks_of("paper-glue-roberta")
    for task, data in authors.items():
        assert plain[task]["splits"]["selection"]["rows"] == 500
        assert data["splits"]["selection"]["rows"] == 0


def test_a_protocol_cannot_change_a_task_that_is_none(project):
    (project / "config/protocols/other.yaml").write_text(PROTOCOL + "tasks: {clola: {}}\n")
    changed(project, SMOKE_FILE, "seeds: [0]", "protocol: other\nseeds: [0]")
    with pytest.raises(UserError, match=r"other.yaml: tasks: unknown task 'clola'.*'cola'"):
        Study(SMOKE)


def test_a_protocols_change_of_a_task_is_checked(project):
    wrong = "tasks: {mrpc: {splits: {selection: {row: 3}}}}\n"
    (project / "config/protocols/other.yaml").write_text(PROTOCOL + wrong)
    changed(project, SMOKE_FILE, "seeds: [0]", "protocol: other\nseeds: [0]")
    with pytest.raises(UserError, match=r"mrpc.yaml as used in .*unknown key 'row'"):
        Study(SMOKE)


def test_a_rate_for_a_head_that_is_not_there_is_refused(project):
    changed(
        project, "config/defaults.yaml", "head_learning_rate: null", 'head_learning_rate: "1e-3"'
    )
    message = r"training.head_learning_rate: quickstart-llama has no task head on arithmetic; set"
    with pytest.raises(UserError, match=message):
        Study("quickstart")
    Study("glue-minilm")
