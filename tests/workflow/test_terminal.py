"""What a run shows: a line a finished job, a failure once, and a bar on a terminal."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType, SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from tests.workflow.conftest import ROOT

CELL = {"study": "tiny", "task": "world", "variant": "lora", "rank": "8", "lr": "1e-2", "seed": "0"}
BASE = CELL | {"variant": "base", "rank": "0", "lr": "0"}


@pytest.fixture(scope="module")
def terminal() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "workflow/rules")
        yield import_module("terminal")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def logger_of(terminal: ModuleType, stream: io.StringIO, **asked: object) -> logging.Logger:
    """A logger as Snakemake makes it, after `take_over`."""
    logger = logging.Logger("snakemake")
    usual = logging.StreamHandler(stream)
    usual.name = "DefaultStreamHandler"
    logger.addHandler(usual)
    settings = {"dryrun": False, "verbose": False, "printshellcmds": False, "quiet": set()}
    terminal.take_over(logger, SimpleNamespace(**settings | asked))
    return logger


def info(logger: logging.Logger, job: int, wildcards: dict[str, str], *logs: str) -> None:
    said = {"jobid": job, "rule_name": "train", "wildcards": wildcards, "log": list(logs)}
    logger.info("files and files", extra=said | {"event": LogEvent.JOB_INFO})


def tell(
    logger: logging.Logger, event: LogEvent, level: int = logging.INFO, **said: object
) -> None:
    logger.log(level, "of Snakemake", extra=said | {"event": event})


def test_a_run_is_a_line_a_finished_job(terminal):
    stream = io.StringIO()
    logger = logger_of(terminal, stream)
    tell(logger, LogEvent.RUN_INFO, stats={"train": 2, "total": 2})
    info(logger, 5, CELL)
    info(logger, 6, BASE)
    tell(logger, LogEvent.SHELLCMD, cmd="python -m lorasb")
    tell(logger, LogEvent.JOB_STARTED, jobs=[5, 6])
    tell(logger, LogEvent.JOB_FINISHED, job_id=6)
    tell(logger, LogEvent.PROGRESS, done=1, total=2)
    tell(logger, LogEvent.JOB_FINISHED, job_id=5)
    first, *jobs = stream.getvalue().splitlines()
    assert first.startswith("2 jobs to run")
    assert jobs == [
        "1/2 train world base seed0 (0 s)",
        "2/2 train world lora r8 lr1e-2 seed0 (0 s)",
    ]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("warning\nlorasb train: error: no room\n", "lorasb train: error: no room (LOG)"),
        ("10%|#\r20%|##\rKilled", "Killed (LOG)"),
        ("", "its log is empty (LOG)"),
    ],
)
def test_a_failure_is_the_last_line_of_its_log_once(terminal, tmp_path, log, said):
    file = tmp_path / "train.log"
    file.write_text(log)
    stream = io.StringIO()
    logger = logger_of(terminal, stream)
    info(logger, 5, CELL, str(file))
    tell(logger, LogEvent.JOB_STARTED, jobs=[5])
    rule = {"event": LogEvent.ERROR, "exception": "RuleException"}
    logger.error("CalledProcessError", extra=rule)
    tell(logger, LogEvent.JOB_ERROR, logging.ERROR, jobid=5)
    expected = f"failed: train world lora r8 lr1e-2 seed0: {said.replace('LOG', str(file))}"
    assert stream.getvalue().splitlines() == [expected]


def test_jobs_without_a_log_or_a_word_have_a_line(terminal):
    stream = io.StringIO()
    logger = logger_of(terminal, stream)
    info(logger, 5, {})
    tell(logger, LogEvent.JOB_ERROR, logging.ERROR, jobid=5)
    tell(logger, LogEvent.JOB_FINISHED, job_id=9)
    assert stream.getvalue().splitlines() == ["failed: train: it has no log", "1/0 job 9 (0 s)"]


@pytest.mark.parametrize(
    ("level", "text", "shown"),
    [
        (logging.INFO, "Nothing to be done (all requested files are present).", True),
        (logging.INFO, "Select jobs to execute...", False),
        (logging.INFO, "host: here", False),
        (logging.WARNING, "host: here", True),
        (logging.ERROR, "2 of 7 cells failed", True),
    ],
)
def test_what_says_something_is_shown(terminal, level, text, shown):
    stream = io.StringIO()
    logger_of(terminal, stream).log(level, text)
    assert stream.getvalue() == (f"{text}\n" if shown else "")


def test_an_error_of_the_workflow_is_shown(terminal):
    stream = io.StringIO()
    logger = logger_of(terminal, stream)
    tell(logger, LogEvent.ERROR, logging.ERROR, exception="WorkflowError")
    assert stream.getvalue() == "of Snakemake\n"


@pytest.mark.parametrize(
    "asked", [{"dryrun": True}, {"verbose": True}, {"printshellcmds": True}, {"quiet": {"rules"}}]
)
def test_who_asks_for_more_or_less_gets_it(terminal, asked):
    stream = io.StringIO()
    info(logger_of(terminal, stream, **asked), 5, CELL)
    assert stream.getvalue() == "files and files\n"


def test_the_bar_tells_how_far_the_oldest_job_is(terminal, tmp_path):
    file = tmp_path / "train.log"
    file.write_text(
        "7%|▋ | 21/300 [00:10<02:00, 2.1it/s, loss=0.693]\r 8%|▋ | 22/300 [00:11<02:00]"
    )
    run = terminal.Run(Screen())
    run.plan(3)
    run.jobs = {number: terminal.Job(f"train {number}", file) for number in (1, 2)}
    assert run.now() == "0 running, 0 failed"
    run.start([2])
    run.start([1])
    assert run.now() == "2 running, 0 failed; train 2: step 22/300"
    file.write_text("8%|▋ | 22/300 [00:11<02:00, 2.1it/s, loss=0.52]")
    run.bar.postfix = run.now()
    assert str(run.bar).endswith(" left, 2 running, 0 failed; train 2: step 22/300, loss 0.52")
    run.fail(2)
    assert run.now() == "1 running, 1 failed; train 1: step 22/300, loss 0.52"
    run.end()


def test_a_screen_has_a_bar_and_a_file_no_control_characters(terminal):
    shown = {}
    for stream in (Screen(), io.StringIO()):
        logger = logger_of(terminal, stream)
        tell(logger, LogEvent.RUN_INFO, stats={"total": 2})
        info(logger, 5, CELL)
        tell(logger, LogEvent.JOB_STARTED, jobs=[5])
        tell(logger, LogEvent.JOB_FINISHED, job_id=5)
        logger.handlers[0].close()
        shown[stream.isatty()] = stream.getvalue()
    assert "1/2 jobs |" in shown[True]
    assert shown[True].endswith("\r")  # the bar has gone
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", shown[False])
