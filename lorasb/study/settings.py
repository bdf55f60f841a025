"""Settings: the defaults, then those of the protocol, of the study, and those it has for a task."""

from __future__ import annotations

from lorasb.config.read import (
    Data,
    check,
    load_defaults,
    load_protocol,
    load_task_config,
    merge,
    names,
    unknown,
)
from lorasb.errors import UserError

SUITE = "suite"  # the protocol of config/defaults.yaml alone


def protocol_of(study: Data) -> Data:
    """The study's protocol; an empty one for `suite`."""
    name = study.get("protocol", SUITE)
    if name == SUITE:
        return {"settings": {}}
    protocol = load_protocol(name)
    for task in protocol.get("tasks", {}):
        if task not in names("tasks"):
            raise UserError(
                f"config/protocols/{name}.yaml: tasks: {unknown('task', task, names('tasks'))}"
            )
    return protocol


def task_under(protocol: Data, task: str) -> Data:
    """What a task's file says, with what the protocol changes of it laid over."""
    return merge(load_task_config(task), protocol.get("tasks", {}).get(task, {}))


def study_settings(study: Data, protocol: Data, where: str) -> Data:
    """What holds for all tasks of a study; `where` begins the line of an error."""
    settings = merge(merge(load_defaults(), protocol["settings"]), study.get("settings", {}))
    check(settings, "settings", f"{where}: settings")
    return settings


def task_settings(shared: Data, own: Data, where: str) -> Data:
    """The settings of one task: the study's with the task's own laid over them.

    Raises
    ------
    UserError
        If a key or value is unknown, or if two do not go together; the line begins with `where`.
    """
    settings = merge(shared, own)
    check(settings, "settings", where)
    training, prediction = settings["training"], settings["prediction"]
    if (training["steps"] is None) == (training["epochs"] is None):
        raise UserError(
            f"{where}: training.steps and training.epochs: give one and set the other to null"
        )
    if settings["start"]["learning_rate"] == "loader-warmup" and not training["warmup_ratio"]:
        raise UserError(
            f"{where}: start.learning_rate: loader-warmup divides by training.warmup_ratio, "
            "which is 0; give one above 0"
        )
    # the rules know the study's setting alone
    both = (prediction["with_training"], shared["prediction"]["with_training"])
    if prediction["epoch"] == "best" and not all(both):
        raise UserError(
            f"{where}: prediction.epoch: best predicts along training; "
            "set prediction.with_training to true for the whole study"
        )
    return settings
