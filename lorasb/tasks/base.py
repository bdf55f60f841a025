"""A task as `config/tasks/{slug}.yaml` describes it; the keys are explained there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any

from lorasb import config
from lorasb.errors import UserError

if TYPE_CHECKING:
    from lorasb.models import Kind

Row = dict[str, Any]

SPLITS = ("train", "selection", "test")
METRICS = {
    "generation": {"accuracy_strict", "accuracy_flexible"},
    "classification": {"accuracy", "matthews", "f1"},
    "regression": {"pearson", "spearman"},
}


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hugging Face hub."""

    path: str
    name: str | None
    revision: str | None


@dataclass(frozen=True)
class GeneratedSource:
    """A family of `lorasb.quickstart`."""

    family: str


@dataclass(frozen=True)
class SplitSpec:
    """`rows` rows of the source's split `origin`; None: all that the other splits leave."""

    origin: str | None
    rows: int | None


@dataclass(frozen=True)
class Rule:
    """Two extractors and a comparator, by name: when a generated answer is right."""

    prediction: str
    gold: str
    compare: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all tasks have. `Task.from_config` gives one of the two subclasses."""

    name: str
    kind: Kind
    data_version: int
    score_version: int
    source: HubSource | GeneratedSource
    splits: Mapping[str, SplitSpec]
    metrics: tuple[str, ...]
    primary: str

    @staticmethod
    def from_config(name: str, data: Mapping[str, Any]) -> Task:
        """Build it from the mapping that the YAML file holds.

        Raises
        ------
        UserError
            If a key is unknown, missing or does not fit another one.
        """
        where = f"config/tasks/{name}.yaml"
        config.check(data, "task", where)
        _check_together(data, where)
        common = {
            "name": name,
            "kind": data["kind"],
            "data_version": data["data_version"],
            "score_version": data["score_version"],
            "source": _source(data["source"]),
            "splits": {split: _split(data["splits"][split]) for split in SPLITS},
            "metrics": tuple(data["metrics"]),
            "primary": data["primary"],
        }
        if data["kind"] == "generation":
            own = {key: data[key] for key in ("prompt", "answer", "max_new_tokens")}
            rules = {role: _rule(rule) for role, rule in data["answers"].items()}
            return GenerationTask(**common, **own, answers=rules)
        return LabelledTask(
            **common,
            text=tuple(data["columns"]["text"]),
            label_column=data["columns"]["label"],
            num_labels=data["num_labels"],
        )

    @property
    def columns(self) -> list[str]:
        """The columns that the source's rows must have."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GenerationTask(Task):
    """A prompt answered by generated text."""

    prompt: str
    answer: str
    max_new_tokens: int
    # "strict" and "flexible"
    answers: Mapping[str, Rule]

    @property
    def columns(self) -> list[str]:
        """The columns that the two templates name."""
        fields = Formatter().parse(self.prompt + self.answer)
        return list(dict.fromkeys(field for _, field, _, _ in fields if field))


@dataclass(frozen=True, kw_only=True)
class LabelledTask(Task):
    """One text or a pair of texts with a class (`int`) or a number (`float`)."""

    text: tuple[str, ...]
    label_column: str
    num_labels: int

    @property
    def columns(self) -> list[str]:
        """The text columns, then the label's."""
        return [*self.text, self.label_column]


def _source(data: Mapping[str, Any]) -> HubSource | GeneratedSource:
    arguments = {key: value for key, value in data.items() if key != "loader"}
    return HubSource(**arguments) if data["loader"] == "hub" else GeneratedSource(**arguments)


def _rule(data: str | Mapping[str, str]) -> Rule:
    if isinstance(data, str):
        return Rule(data, data, "equal")
    return Rule(data["prediction"], data["gold"], data.get("compare", "equal"))


def _split(data: Mapping[str, Any]) -> SplitSpec:
    return SplitSpec(data.get("from"), data["rows"])


def _check_together(data: Mapping[str, Any], where: str) -> None:
    """Refuse keys that are right alone but not together."""
    if data["primary"] not in data["metrics"]:
        raise UserError(f"{where}: primary: '{data['primary']}' is not one of metrics")
    misfits = set(data["metrics"]) - METRICS[data["kind"]]
    if misfits:
        known = ", ".join(sorted(METRICS[data["kind"]]))
        raise UserError(
            f"{where}: metrics: {sorted(misfits)[0]} is not for {data['kind']}; known: {known}"
        )
    if data["kind"] != "generation":
        _check_num_labels(data, where)
    _check_splits(data, where)


def _check_num_labels(data: Mapping[str, Any], where: str) -> None:
    if (data["kind"] == "regression") != (data["num_labels"] == 1):
        raise UserError(f"{where}: num_labels: 1 for regression, at least 2 for classification")
    if "f1" in data["metrics"] and data["num_labels"] != 2:
        raise UserError(f"{where}: metrics: f1 is that of class 1 of two; num_labels must be 2")


def _check_splits(data: Mapping[str, Any], where: str) -> None:
    hub = data["source"]["loader"] == "hub"
    rest: set[str] = set()
    for name, split in data["splits"].items():
        key = f"{where}: splits.{name}"
        if hub != ("from" in split):
            wanted = "needs 'from', a split of the source" if hub else "is generated; remove 'from'"
            raise UserError(f"{key} {wanted}")
        if split["rows"] is None:
            if not hub:
                raise UserError(f"{key}.rows: a generated split needs a number of rows")
            if split["from"] in rest:
                raise UserError(f"{key}.rows: another split takes all of '{split['from']}' already")
            rest.add(split["from"])
