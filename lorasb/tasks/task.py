"""A task as `config/tasks/{slug}.yaml` describes it; `config/README.md` explains the keys."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

from lorasb.config import read as config
from lorasb.tasks.checks import BY_LIKELIHOOD, check_together

if TYPE_CHECKING:
    from lorasb.models.spec import Kind

Row = dict[str, Any]

SPLITS = ("train", "selection", "test")
KEEP = "none"  # no training row is dropped


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face hub, and how many rows its splits are known to have."""

    path: str
    name: str | None
    revision: str | None
    rows: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class GeneratedSource:
    """A family of `lorasb.bundled.families`."""

    family: str


@dataclass(frozen=True)
class File:
    """A file of a source: its path, and where they are known its number of rows and sha256."""

    path: str
    rows: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class FilesSource:
    """Files below a folder on disk, or below `url/revision`, by name."""

    files: tuple[tuple[str, File], ...]
    folder: str | None = None
    url: str | None = None
    revision: str | None = None


Source = HubSource | GeneratedSource | FilesSource


@dataclass(frozen=True)
class SplitSpec:
    """`rows` rows of the source's split `origin`; None: all that the other splits leave.

    They are drawn with the seed, or are the first ones. Training rows that are alike one of them,
    by a name of `lorasb.tasks.overlap.FORMS`, are dropped.
    """

    origin: str | None
    rows: int | None
    first: bool = False
    drop_overlap: str = KEEP


@dataclass(frozen=True)
class Rule:
    """Two extractors and a comparator, by name: when a generated answer is right."""

    prediction: str
    gold: str
    compare: str


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn, by the names of `transformers.GenerationConfig`."""

    temperature: float
    top_p: float
    # 0: all tokens
    top_k: int


@dataclass(frozen=True)
class Options:
    """The answers that an item can have: `text` with each of the `names` that its prompt names."""

    text: str
    names: tuple[str, ...]

    def of(self, prompt: str) -> list[str]:
        """The options of an item."""
        held = (name for name in self.names if re.search(rf"\b{re.escape(name)}\b", prompt))
        return [self.text.format(option=name) for name in held]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What all tasks have. `Task.from_config` gives one of the two subclasses."""

    name: str
    kind: Kind
    data_version: int
    score_version: int
    source: Source
    splits: Mapping[str, SplitSpec]
    metrics: tuple[str, ...]
    primary: str
    # what learning rates are chosen by
    selection_metric: str
    # how many rows of a split, or of an evaluation set, are predicted; None: all
    replies: int | None = None
    # of the task head; 1 for regression, and for generation, which has none
    num_labels: int = 1
    # rows that are left out: `lorasb.tasks.values.left_out`
    drop_rows: tuple[str, ...] = ()
    # evaluation sets by name, each with a test split alone; without them the task itself has one
    sets: Mapping[str, Task] = field(default_factory=dict)

    @staticmethod
    def from_config(name: str, data: Mapping[str, Any], where: str = "") -> Task:
        """Build it from the mapping that the YAML file holds; errors begin with `where`.

        Raises
        ------
        UserError
            If a key is unknown, missing or does not fit another one.
        """
        where = where or f"config/tasks/{name}.yaml"
        config.check(data, "task", where)
        check_together(data, where)
        return _task(name, data, {split: data["splits"][split] for split in SPLITS})

    @property
    def training_rows(self) -> int | None:
        """Rows of the training split before any is dropped; None: the task does not say."""
        train = self.splits["train"]
        if train.rows is not None:
            return train.rows
        available = _source_rows(self.source).get(str(train.origin))
        others = [spec for spec in self.splits.values() if spec is not train]
        taken = [spec.rows for spec in others if spec.origin == train.origin]
        return None if available is None else available - sum(rows or 0 for rows in taken)

    @property
    def by_likelihood(self) -> list[str]:
        """Its metrics that need the likelihood of answers, not a reply."""
        return [name for name in self.metrics if name in BY_LIKELIHOOD]

    def asks_replies(self, split: str) -> bool:
        """Whether a split is scored by replies: not where a metric by likelihood chooses rates."""
        return split != "selection" or self.selection_metric not in BY_LIKELIHOOD

    def metrics_on(self, split: str) -> Sequence[str]:
        """The metrics that each cell has on a split."""
        return self.metrics if self.asks_replies(split) else self.by_likelihood

    @property
    @abstractmethod
    def inputs(self) -> list[str]:
        """The columns that the model is shown."""

    @property
    @abstractmethod
    def gold(self) -> list[str]:
        """The columns of what is right."""

    @property
    def columns(self) -> list[str]:
        """The columns that the source's rows must have."""
        return list(dict.fromkeys([*self.inputs, *self.gold]))

    @property
    def dropped(self) -> dict[str, str]:
        """Splits and sets that have training rows dropped, and by what form of the rows."""
        forms = {name: spec.drop_overlap for name, spec in self.splits.items() if spec.rows != 0}
        forms |= {
            f"test.{name}": one.splits["test"].drop_overlap for name, one in self.sets.items()
        }
        return {name: form for name, form in forms.items() if form != KEEP}

    @property
    def unpinned(self) -> list[Path]:
        """The files on disk that it reads and whose content it does not state by a checksum."""
        found = [
            Path(one.source.folder) / file.path
            for one in (self, *self.sets.values())
            if isinstance(one.source, FilesSource) and one.source.folder is not None
            for name, file in one.source.files
            if file.sha256 is None and name in {spec.origin for spec in one.splits.values()}
        ]
        return sorted(set(found))

    def part(self, name: str | None) -> Task:
        """The evaluation set of that name; the task itself where a row has none."""
        return self.sets[name] if name else self


@dataclass(frozen=True, kw_only=True)
class GenerationTask(Task):
    """A prompt answered by generated text."""

    prompt: str
    answer: str
    max_new_tokens: int
    # a reply ends before the first of these texts
    stop: tuple[str, ...]
    # None: greedy
    sampling: Sampling | None
    # "strict" and "flexible"
    answers: Mapping[str, Rule]
    # of metrics by likelihood
    options: Options | None = None

    @property
    def inputs(self) -> list[str]:
        """The columns that the prompt names."""
        return fields(self.prompt)

    @property
    def gold(self) -> list[str]:
        """The columns that the answer names."""
        return fields(self.answer)


@dataclass(frozen=True, kw_only=True)
class LabelledTask(Task):
    """One text or a pair of texts with a class (`int`) or a number (`float`)."""

    text: tuple[str, ...]
    label_column: str

    @property
    def inputs(self) -> list[str]:
        """The text columns."""
        return list(self.text)

    @property
    def gold(self) -> list[str]:
        """The label's column."""
        return [self.label_column]


def fields(template: str) -> list[str]:
    """The columns that a template names."""
    found = (field for _, field, _, _ in Formatter().parse(template))
    return list(dict.fromkeys(field for field in found if field))


def _task(name: str, data: Mapping[str, Any], splits: Mapping[str, Any]) -> Task:
    """The task, or one of its evaluation sets, from a mapping that is known to be right."""
    sets = splits["test"].get("sets", {})
    common = {
        "name": name,
        "kind": data["kind"],
        "data_version": data["data_version"],
        "score_version": data["score_version"],
        "source": _source(data["source"]),
        "splits": _splits(splits),
        "metrics": tuple(data["metrics"]),
        "primary": data["primary"],
        "selection_metric": data.get("selection_metric", data["primary"]),
        "drop_rows": tuple(data.get("drop_rows", ())),
        "sets": {one: _set(f"{name}/{one}", data, own) for one, own in sets.items()},
    }
    if data["kind"] == "generation":
        return GenerationTask(
            **common,
            prompt=data["prompt"],
            answer=data["answer"],
            max_new_tokens=data["max_new_tokens"],
            stop=tuple(data.get("stop", ())),
            sampling=Sampling(**data["sampling"]) if "sampling" in data else None,
            answers={role: _rule(rule) for role, rule in data["answers"].items()},
            options=_options(data.get("options")),
            replies=data.get("replies"),
        )
    return LabelledTask(
        **common,
        text=tuple(data["columns"]["text"]),
        label_column=data["columns"]["label"],
        num_labels=data["num_labels"],
    )


def _set(name: str, data: Mapping[str, Any], own: Mapping[str, Any]) -> Task:
    """One evaluation set: what it states itself, and the rest as the task has it."""
    return _task(name, {**data, **own}, {"test": own})


def _source(data: Mapping[str, Any]) -> Source:
    arguments = {key: value for key, value in data.items() if key != "loader"}
    if data["loader"] == "hub":
        rows = tuple(arguments.pop("rows", {}).items())
        return HubSource(**arguments, rows=rows)
    if data["loader"] == "generated":
        return GeneratedSource(**arguments)
    files = tuple((name, File(**file)) for name, file in data["files"].items())
    return FilesSource(**arguments | {"files": files})


def _source_rows(source: Source) -> dict[str, int | None]:
    """How many rows the splits of a source are known to have."""
    if isinstance(source, FilesSource):
        return {name: file.rows for name, file in source.files}
    return dict(source.rows) if isinstance(source, HubSource) else {}


def _rule(data: str | Mapping[str, str]) -> Rule:
    if isinstance(data, str):
        return Rule(data, data, "equal")
    return Rule(data["prediction"], data["gold"], data.get("compare", "equal"))


def _options(data: Mapping[str, Any] | None) -> Options | None:
    return None if data is None else Options(data["text"], tuple(data["names"]))


def _splits(data: Mapping[str, Any]) -> dict[str, SplitSpec]:
    """All that are no evaluation sets."""
    trained = data.get("train", {}).get("from")
    cut = {name for name, own in data.items() if trained and own.get("from") == trained}
    return {
        name: _split(own, "normalised" if name in cut - {"train"} else KEEP)
        for name, own in data.items()
        if "sets" not in own
    }


def _split(data: Mapping[str, Any], drop_overlap: str) -> SplitSpec:
    return SplitSpec(
        origin=data.get("from"),
        rows=data["rows"],
        first=data.get("take") == "first",
        drop_overlap=data.get("drop_overlap", drop_overlap),
    )
