"""Two starts at once of one stage: the second waits, and finds the work done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Event

import pytest

from lorasb import files
from lorasb.bundled.pretrain import pretrain
from lorasb.stages.estimate_activations import estimate_activations
from lorasb.stages.estimate_gradient import estimate_gradient
from lorasb.stages.factorize import factorize_gradient, factorize_weights
from lorasb.stages.predict import predict
from lorasb.stages.prepare_task import prepare_task
from lorasb.stages.train import train
from lorasb.study.cells import Cell
from lorasb.study.study import Study
from lorasb.tasks.downloads import locate
from lorasb.tasks.task import File, FilesSource

NAMES = ("quickstart", "quickstart-llama", "sentences")
ROWS = FilesSource(folder=None, url="http://nowhere", revision="1", files=())


def base_cell() -> Cell:
    cells = Study.load(NAMES[0]).cells_of(*NAMES[1:])
    return next(cell for cell in cells if cell.variant == "base")


# the stages in an order in which each finds what it needs, and the function in which each works
STAGES: dict[str, tuple[Callable[[], object], str]] = {
    "prepare": (lambda: prepare_task(*NAMES), "lorasb.stages.prepare_task.prepare"),
    "gradient": (
        lambda: estimate_gradient(*NAMES, 8, 0),
        "lorasb.stages.estimate_gradient.estimate_gradients",
    ),
    "factors": (lambda: factorize_gradient(*NAMES, 8, 0), "lorasb.stages.factorize.factorize"),
    "weights": (lambda: factorize_weights(*NAMES[:2]), "lorasb.stages.factorize.factorize"),
    "train": (lambda: train(base_cell()), "lorasb.training.loop.train"),
    "predict": (lambda: predict(base_cell()), "lorasb.evaluation.predict.predict"),
    "activations": (
        lambda: estimate_activations(*NAMES, 8, 0),
        "lorasb.stages.estimate_activations.estimate",
    ),
    "pretrain": (lambda: pretrain(Path("model"), steps=1), "lorasb.bundled.pretrain._train"),
}


class Work:
    """Stands for the function in which a stage works: the first call waits for the second start."""

    def __init__(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module, _, self.name = place.rpartition(".")
        self.function = getattr(import_module(self.module), self.name)
        self.calls = 0
        self.works, self.waits = Event(), Event()
        self.meanwhile: Callable[[], None] = lambda: None
        self.flock = files.fcntl.flock
        monkeypatch.setattr(place, self)
        monkeypatch.setattr(files.fcntl, "flock", self.observed)

    def __call__(self, *arguments: object, **options: object) -> object:
        self.calls += 1
        if self.calls == 1:
            self.works.set()
            assert self.waits.wait(60)
            self.meanwhile()
        return self.function(*arguments, **options)

    def observed(self, *arguments: object) -> None:
        try:
            self.flock(*arguments)
        except BlockingIOError:
            self.waits.set()
            raise

    def start_twice(self, stage: Callable[[], object]) -> None:
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(stage)
            assert self.works.wait(60) or first.result()
            second = threads.submit(stage)
            first.result()
            second.result()


def before(name: str) -> None:
    """Run the stages whose files a stage reads."""
    needed = {"gradient": 1, "activations": 1, "factors": 2, "train": 1, "predict": 1}.get(name, 0)
    for earlier in list(STAGES)[:needed]:
        STAGES[earlier][0]()
    if name == "predict":
        train(base_cell())


@pytest.mark.parametrize("name", STAGES)
def test_second_start_waits_and_does_nothing(project, monkeypatch, capsys, name):
    before(name)
    stage, place = STAGES[name]
    monkeypatch.setattr("lorasb.bundled.pretrain.probe", lambda *_: {})  # takes a minute
    work = Work(place, monkeypatch)
    work.start_twice(stage)
    # a cell is trained once, and predicted once
    assert work.calls == 1
    assert ": another process is at it; waiting\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["prepare", "gradient", "train"])
def test_what_is_gone_when_the_wait_ends_is_made_again(project, monkeypatch, name):
    """Snakemake removes the outputs of a job before it starts it."""
    before(name)
    stage, place = STAGES[name]
    work = Work(place, monkeypatch)
    module = "lorasb.start.write" if name == "gradient" else f"lorasb.stages.{stage_module(name)}"
    written = import_module(module).write_record

    def write_and_lose(path: Path, *arguments: object) -> None:
        written(path, *arguments)
        if work.calls == 1:
            for file in path.parent.iterdir():
                if file.is_dir():
                    shutil.rmtree(file)
                elif file.name != ".lock" and not file.name.endswith("record.json"):
                    file.unlink()

    monkeypatch.setattr(f"{module}.write_record", write_and_lose)
    work.start_twice(stage)
    assert work.calls == 2


def stage_module(name: str) -> str:
    return {"prepare": "prepare_task", "gradient": "estimate_gradient"}.get(name, name)


def test_other_settings_are_not_those_that_were_waited_for(project, monkeypatch):
    before("gradient")
    work = Work(STAGES["gradient"][1], monkeypatch)
    hashes = iter(["one", "two"])
    monkeypatch.setattr("lorasb.stages.estimate_gradient.gradient_hash", lambda *_: next(hashes))
    work.start_twice(STAGES["gradient"][0])
    assert work.calls == 2


def test_file_is_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(
        "lorasb.tasks.downloads._download", lambda url, file, path: path.write_text("rows")
    )
    work = Work("lorasb.tasks.downloads._download", monkeypatch)
    work.start_twice(lambda: locate(ROWS, File("rows.jsonl", None, None)))
    assert work.calls == 1
