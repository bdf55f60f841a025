"""A study, read and checked once at the door and then asked. It makes all cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from lorasb.config.read import Data, load_study, path_of, unknown
from lorasb.errors import UserError
from lorasb.methods.method import NEEDS_GRADIENT, NEEDS_SAMPLES
from lorasb.methods.registry import make_variants
from lorasb.models.spec import ModelSpec
from lorasb.study import hashes
from lorasb.study.cells import COLUMNS, NO_RATE, Cell, Point
from lorasb.study.counts import refuse_ranks
from lorasb.study.paths import STARTS, coordinates
from lorasb.study.rates import (
    Selected,
    fixed_rate,
    read_selected_rates,
    selected_rate,
    selected_rates_path,
)
from lorasb.study.settings import protocol_of, study_settings, task_settings, task_under
from lorasb.tasks.task import Task


@dataclass(frozen=True)
class Resolved:
    """All that a task within a study, or a cell of it, depends on."""

    model: ModelSpec
    task: Task
    settings: Data

    @property
    def task_head(self) -> list[str]:
        """Modules of the model that are started anew for the task; no layer in them is adapted."""
        return self.model.head_modules(self.task.kind)


class Study:
    """What `config/studies/{name}.yaml` stands for, with all files that it names.

    Raises
    ------
    UserError
        If the study, or a file that it names, is missing or wrong.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = str(path_of("studies", name))
        data = load_study(name)
        protocol = protocol_of(data)
        self.seeds: list[int] = data["seeds"]
        self.sweep: Data | None = data.get("sweep")
        self.entries: Data = data["variants"]
        self.learning_rates: Data | str = data["learning_rates"]
        self.released: str | None = data.get("released")
        self.models = {model: ModelSpec.load(model) for model in data["models"]}
        # what hashes are of
        self.task_data = {task: task_under(protocol, task) for task in data["tasks"]}
        self.tasks = {
            task: Task.from_config(task, own, f"config/tasks/{task}.yaml as used in {self.path}")
            for task, own in self.task_data.items()
        }
        self.variants = make_variants(self.entries)
        # what rules ask for, whatever the task
        self.shared = study_settings(data, protocol, self.path)
        self._settings = self._task_settings(data.get("task_settings") or {})
        self.points = [
            Point(model, task, variant, rank)
            for model, task in self.pairs
            for variant in self.variants
            for rank in self._ranks(variant)
        ]
        refuse_ranks(self)
        self._check_seeds()
        self._check_heads()
        if isinstance(self.learning_rates, dict):
            for point in self.points:
                self.rate(point)

    @classmethod
    @cache
    def load(cls, name: str) -> Study:
        """The study of that name, read once in a process."""
        return cls(name)

    @property
    def pairs(self) -> Iterable[tuple[str, str]]:
        """Each model with each task."""
        return product(self.models, self.tasks)

    def resolved(self, model: str, task: str) -> Resolved:
        """The model, the task and its settings."""
        self.check(model=model, task=task)
        return Resolved(self.models[model], self.tasks[task], self._settings[task])

    def settings(self, task: str) -> Data:
        """The settings of a task."""
        return self._settings[task]

    @cached_property
    def largest_rank(self) -> int:
        """The rank at which factors are computed; smaller ranks slice them."""
        ranked = [point for point in self.points if point.rank]
        if not ranked:
            raise UserError(f"{self.path}: no variant has ranks; nothing to factorise")
        # the rank of other methods may be no rank of a matrix
        read = [point for point in ranked if self.variants[point.variant].method.needs]
        return max(point.rank for point in read or ranked)

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells whose test scores the study reports, at the rates it fixed or selected."""
        return [
            Cell(self.name, *point, self.rate(point), seed, "test")
            for point in self.points
            for seed in self._seeds(point.variant)
        ]

    @cached_property
    def released_cells(self) -> frozenset[Cell]:
        """The cells that are not run: they are taken from the release that the study names."""
        if self.released is None:
            return frozenset()
        from lorasb.study.released import released_cells

        return released_cells(self)

    @cached_property
    def sweep_cells(self) -> list[Cell]:
        """The cells of the learning-rate sweep: other seeds, scored on the selection split."""
        if self.sweep is None:
            raise UserError(f"{self.path}: no key 'sweep'; nothing to sweep")
        for task, data in self.task_data.items():
            if data["splits"]["selection"]["rows"] == 0:
                raise UserError(
                    f"{self.path}: nothing to sweep on: the task '{task}' has an empty "
                    "selection split; sweep a study of tasks that have one"
                )
        return [
            Cell(self.name, *point, lr, seed, "selection")
            for point in self.points
            if self.variants[point.variant].method.trains
            for lr, seed in product(self._swept_rates(point.variant), self._sweep_seeds)
        ]

    @cached_property
    def points_to_sweep(self) -> list[Point]:
        """Those whose rate is still to be chosen, or was chosen under other settings or rates."""
        swept = dict.fromkeys(cell.point for cell in self.sweep_cells)
        rows = {point: self.committed_rates.get(point, {}) for point in swept}
        return [point for point in swept if not self.grid(point).items() <= rows[point].items()]

    @property
    def committed_rates(self) -> Selected:
        """`selected_rates`, or none where no table is committed yet or rates are fixed."""
        there = self.learning_rates == "selected" and selected_rates_path(self.name).exists()
        return self.selected_rates if there else {}

    def grid(self, point: Point) -> dict[str, str]:
        """What the choice of a point's rate depends on, as the committed table has it."""
        return {
            "seeds": str(len(self._sweep_seeds)),
            "tried": " ".join(self._swept_rates(point.variant)),
            "settings": hashes.point_hash(self, point),
        }

    def scored_cells(self, split: str) -> list[Cell]:
        """The cells scored on a split: those left to sweep on `selection`, final ones on `test`.

        Without those that are taken from a release.
        """
        if split == "test":
            return [cell for cell in self.cells if cell not in self.released_cells]
        left = set(self.points_to_sweep)
        return [cell for cell in self.sweep_cells if cell.point in left]

    def cells_of(self, model: str, task: str, split: str = "test") -> list[Cell]:
        """Those of one model and task."""
        self.check(model=model, task=task, split=split)
        return [
            cell for cell in self.scored_cells(split) if (cell.model, cell.task) == (model, task)
        ]

    def cell(self, **named: Any) -> Cell:
        """The cell with these coordinates (`lorasb.study.cells.COLUMNS`), numbers or their texts.

        Raises
        ------
        UserError
            If the study has no such cell, neither a final one nor one of its sweep.
        """
        self.check(**named)
        numbers = {"rank": int(named["rank"]), "seed": int(named["seed"])}
        split = "selection" if numbers["seed"] in self._sweep_seeds else "test"
        coordinates = {name: named[name] for name in COLUMNS} | numbers
        return Cell(study=self.name, split=split, **coordinates)

    def check(self, where: str = "", **named: Any) -> None:
        """Refuse coordinates that the study does not have; `where` says who names them.

        Raises
        ------
        UserError
            If one of them has another spelling, or if nothing of the study has it.
        """
        for name, values in self._known(named):
            known = [str(value) for value in values]
            if name in named and str(named[name]) not in known:
                raise UserError(f"{where or self.path}: {unknown(name, str(named[name]), known)}")

    @cached_property
    def selected_rates(self) -> Selected:
        """The committed outcome of the study's sweep."""
        path = selected_rates_path(self.name)
        selected = read_selected_rates(path)
        for point in selected:
            self.check(**point._asdict(), where=str(path))
        return selected

    def rate(self, point: Point) -> str:
        """The learning rate of a point's reported cells."""
        if not self.variants[point.variant].method.trains:
            return NO_RATE
        if isinstance(self.learning_rates, str):
            path = selected_rates_path(self.name)
            rate = selected_rate(self.selected_rates, point, path)
            if self.sweep and rate not in self._swept_rates(point.variant):
                raise UserError(
                    f"{path}: {rate} of {', '.join(map(str, point))} is not among the rates of "
                    f"sweep.learning_rates in {self.path}; run the target 'sweep' again"
                )
            return rate
        return fixed_rate(self.learning_rates, point, f"{self.path}: learning_rates")

    def samples(self, task: str, variant: str) -> int:
        """Training samples of what a variant starts from: its own number or the study's."""
        return int(self.variants[variant].samples or self._settings[task]["gradient"]["samples"])

    def folder(self, pattern: str, model: str, task: str) -> Path:
        """A pattern of `lorasb.study.paths` for one of its models and tasks."""
        return Path(pattern.format(study=self.name, model=model, task=task))

    def start_files(self, cell: Cell) -> list[Path]:
        """All files of a cell's start, and the gradient that they come from."""
        needs = self.variants[cell.variant].method.needs
        made = needs | ({"gradient"} if needs & NEEDS_GRADIENT else set())
        return [self.start_file(cell, need) for need in sorted(made)]

    def start_file(self, cell: Cell, need: str) -> Path:
        """The file of a cell's start: a name of `lorasb.study.paths.STARTS`."""
        samples = self.samples(cell.task, cell.variant)
        return Path(STARTS[need].format(**vars(cell), samples=samples))

    def _known(self, named: Data) -> Iterator[tuple[str, Iterable[Any]]]:
        """Each coordinate and the values that the study has beside those before it in `named`."""
        yield "model", self.models
        yield "task", self.tasks
        yield "split", ("test", "selection")
        yield "variant", self.variants
        if "samples" in named:
            started = [v for v in self.variants.values() if v.method.needs & NEEDS_SAMPLES]
            yield "samples", {self.samples(named["task"], variant.name) for variant in started}
            yield "seed", {seed for variant in started for seed in self._all_seeds(variant.name)}
        if "variant" in named:
            yield "rank", self._ranks(named["variant"])
            yield "seed", self._all_seeds(named["variant"])
        if "lr" in named:
            point = Point(named["model"], named["task"], named["variant"], int(named["rank"]))
            swept = int(named["seed"]) in self._sweep_seeds
            yield "lr", self._swept_rates(point.variant) if swept else [self.rate(point)]

    def _all_seeds(self, variant: str) -> list[int]:
        swept = self._sweep_seeds if self.variants[variant].method.trains else []
        return self._seeds(variant) + swept

    @property
    def _sweep_seeds(self) -> list[int]:
        return list(self.sweep["seeds"]) if self.sweep else []

    def _check_seeds(self) -> None:
        both = sorted({*self._sweep_seeds} & {s for v in self.variants for s in self._seeds(v)})
        if both:
            raise UserError(
                f"{self.path}: sweep.seeds has {both[0]}, which is a final seed; "
                "a learning rate is chosen on other seeds than those that are reported"
            )

    def _check_heads(self) -> None:
        for model, task in self.pairs:
            resolved = self.resolved(model, task)
            if resolved.settings["training"]["head_learning_rate"] and not resolved.task_head:
                raise UserError(
                    f"{self.path}: training.head_learning_rate: {model} has no task head on "
                    f"{task}; set it to null there"
                )

    def _seeds(self, variant: str) -> list[int]:
        return list(self.entries[variant].get("seeds", self.seeds))

    def _ranks(self, variant: str) -> list[int]:
        entry, has_rank = self.entries[variant], self.variants[variant].method.has_rank
        if has_rank != ("ranks" in entry):
            wanted = "needs a list 'ranks'" if has_rank else "has no rank; remove 'ranks'"
            raise UserError(f"{self.path}: variants.{variant} {wanted}")
        return list(entry.get("ranks", [0]))

    def _swept_rates(self, variant: str) -> list[str]:
        assert self.sweep is not None
        rates = self.sweep["learning_rates"].get(variant, self.variants[variant].rates)
        if not rates:
            raise UserError(f"{self.path}: sweep.learning_rates has no entry for '{variant}'")
        return list(rates)

    def _task_settings(self, own: Data) -> dict[str, Data]:
        unknown = sorted(set(own) - set(self.tasks))
        if unknown:
            raise UserError(
                f"{self.path}: task_settings.{unknown[0]}: not a task of this study; "
                f"its tasks: {', '.join(self.tasks)}"
            )
        return {
            task: task_settings(self.shared, own.get(task, {}), f"{self.path} (settings of {task})")
            for task in self.tasks
        }


def refuse_foreign(path: str) -> None:
    """Refuse a path below `results/` that names what its study does not have; others pass.

    Raises
    ------
    UserError
        If there is no such study, or nothing of it has that path.
    """
    named = coordinates(path)
    if named:
        Study.load(named.pop("study")).check(**named)
