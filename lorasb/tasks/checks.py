"""Keys of a task's file that are right alone but not together."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Any

from lorasb.errors import UserError

MOST_GENERATED = 1_000_000  # rows; more of a family would be repetitions
# of generation tasks, without a reply: of the gold answer, and of all options
BY_LIKELIHOOD = ("answer_loss", "choice", "choice_norm")
LOWER_IS_BETTER = {"answer_loss"}
METRICS_OF_KIND = {
    "generation": {"accuracy_strict", "accuracy_flexible", *BY_LIKELIHOOD},
    "classification": {"accuracy", "matthews", "f1"},
    "regression": {"pearson", "spearman"},
}


def check_together(data: Mapping[str, Any], where: str) -> None:
    """Refuse keys that are right alone but not together."""
    if data["primary"] not in data["metrics"]:
        raise UserError(f"{where}: primary: '{data['primary']}' is not one of metrics")
    if data["primary"] in BY_LIKELIHOOD:
        raise UserError(
            f"{where}: primary: {data['primary']} stands beside replies, not in their place; "
            "name a metric of replies, and selection_metric to choose learning rates by another one"
        )
    if data.get("selection_metric", data["primary"]) not in data["metrics"]:
        raise UserError(
            f"{where}: selection_metric: '{data['selection_metric']}' is not one of metrics"
        )
    if "replies" in data and not set(data["metrics"]) & set(BY_LIKELIHOOD):
        raise UserError(
            f"{where}: replies: rows without one are scored by likelihood; metrics needs one of "
            f"{', '.join(BY_LIKELIHOOD)}"
        )
    misfits = set(data["metrics"]) - METRICS_OF_KIND[data["kind"]]
    if misfits:
        known = ", ".join(sorted(METRICS_OF_KIND[data["kind"]]))
        raise UserError(
            f"{where}: metrics: {sorted(misfits)[0]} is not for {data['kind']}; known: {known}"
        )
    if data["kind"] == "generation":
        _check_templates(data, where)
        _check_options(data, where)
    else:
        _check_columns(data, where)
        _check_num_labels(data, where)
    _check_source(data["source"], f"{where}: source")
    _check_splits(data, where)


def _owners(data: Mapping[str, Any], where: str) -> dict[str, Mapping[str, Any]]:
    """The task and its evaluation sets, by where they stand."""
    sets = data["splits"]["test"].get("sets", {})
    return {where: data} | {f"{where}: splits.test.sets.{name}": own for name, own in sets.items()}


def _check_templates(data: Mapping[str, Any], where: str) -> None:
    for key, owner in _owners(data, where).items():
        for name in ("prompt", "answer"):
            if name in owner:
                _check_template(owner[name], f"{key}: {name}")


def _check_options(data: Mapping[str, Any], where: str) -> None:
    """Refuse a choice without options, and options that no metric reads."""
    chosen = [name for name in data["metrics"] if name.startswith("choice")]
    owners = _owners(data, where)
    found = {key: owner.get("options", data.get("options")) for key, owner in owners.items()}
    if data["splits"]["test"].get("sets") and "options" not in data:
        del found[where]
    for key, options in found.items():
        if chosen and options is None:
            raise UserError(f"{key}: metrics: {chosen[0]} needs the key options")
        if options is not None and not chosen:
            raise UserError(f"{key}: options: no metric reads them; add choice to metrics")
        if options is not None and "{option}" not in options["text"]:
            raise UserError(f"{key}: options.text: no {{option}}; all options would be the same")


def _check_template(template: str, key: str) -> None:
    """Refuse what `str.format` would take for anything else than a column's name in braces."""
    meant = "write {{ and }} for braces that are part of the text"
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UserError(f"{key}: {error}; {meant}") from error
    if not parts:
        raise UserError(f"{key}: no column's name in braces; all rows would be the same")
    for _, name, form, conversion in parts:
        if not name or name.isdecimal() or any(mark in name for mark in ".[]"):
            raise UserError(f"{key}: '{{{name}}}' is no column's name in braces; {meant}")
        if form or conversion:
            raise UserError(
                f"{key}: '{{{name}' is followed by a format or conversion; a column's name stands "
                f"in braces alone; {meant}"
            )


def _check_columns(data: Mapping[str, Any], where: str) -> None:
    for key, owner in _owners(data, where).items():
        columns = owner.get("columns", {"text": [], "label": None})
        if columns["label"] in columns["text"]:
            raise UserError(
                f"{key}: columns: '{columns['label']}' is both text and label; the model would be "
                "shown what is right"
            )


def _check_num_labels(data: Mapping[str, Any], where: str) -> None:
    if (data["kind"] == "regression") != (data["num_labels"] == 1):
        raise UserError(f"{where}: num_labels: 1 for regression, at least 2 for classification")


def _check_source(source: Mapping[str, Any], key: str) -> None:
    if source["loader"] == "files" and source.get("folder") is None:
        missing = [name for name in ("url", "revision") if source.get(name) is None]
        if missing:
            raise UserError(
                f"{key}.{missing[0]} is missing; give the folder that holds the files, or url and "
                "revision to download them from"
            )


def _check_splits(data: Mapping[str, Any], where: str) -> None:
    rest: set[str] = set()
    for name, split in data["splits"].items():
        if "sets" in split:
            _check_sets(data, where)
            continue
        _check_split(data["source"], split, f"{where}: splits.{name}")
        if split["rows"] is None:
            if split["from"] in rest:
                raise UserError(
                    f"{where}: splits.{name}.rows: another split takes all of '{split['from']}' "
                    "already"
                )
            rest.add(split["from"])


def _check_split(source: Mapping[str, Any], split: Mapping[str, Any], key: str) -> None:
    generated = source["loader"] == "generated"
    if generated == ("from" in split):
        wanted = (
            "is generated; remove 'from'" if generated else "needs 'from', a split of the source"
        )
        raise UserError(f"{key} {wanted}")
    if split["rows"] is None and (generated or split.get("take") == "first"):
        what = "a generated split" if generated else "'take: first'"
        raise UserError(f"{key}.rows: {what} needs a number of rows")
    if generated and split["rows"] > MOST_GENERATED:
        raise UserError(f"{key}.rows: a generated split has at most {MOST_GENERATED} rows")
    if source["loader"] == "files" and split["from"] not in source["files"]:
        raise UserError(
            f"{key}.from: '{split['from']}' is not one of source.files: "
            f"{', '.join(source['files'])}"
        )


def _check_sets(data: Mapping[str, Any], where: str) -> None:
    used = {data["splits"][name].get("from") for name in ("train", "selection")}
    for name, own in data["splits"]["test"]["sets"].items():
        key = f"{where}: splits.test.sets.{name}"
        source = own.get("source", data["source"])
        _check_source(source, f"{key}.source")
        _check_split(source, own, key)
        if _same(source, data["source"]) and own.get("from") in used:
            raise UserError(f"{key}.from: '{own['from']}' is trained on or selected by")


def _same(source: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are one data set, of whatever revision."""
    names = ("loader", "path", "name", "family", "folder", "url", "files")
    return all(source.get(name) == other.get(name) for name in names)
