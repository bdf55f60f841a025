"""What a run shows on the terminal: a line a finished job and a bar with what is left.

It takes the place of Snakemake's own handler, whose lists of files fill screens. All that Snakemake
says still stands in .snakemake/log.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from logging import INFO, Handler, Logger, LogRecord, StreamHandler
from pathlib import Path
from threading import Event, Thread
from typing import Any, TextIO

from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface
from tqdm import tqdm

# what says nothing to those who run a study
NOISE = re.compile(
    r"Building DAG|Select jobs|Execute \d+ jobs|Assuming unrestricted|Conda environments: ignored"
    r"|Using shell: |host: |\d+ of \d+ steps|localrules|Retrieving|Storing|Touching output"
)
FORMAT = "{n}/{total} jobs |{bar:20}| {elapsed} gone, about {remaining} left{postfix}"
STEP = re.compile(r"(\d+/\d+) \[[^\]\r]*?(?:, loss=([\d.]+))?\]")  # of a bar in a job's log
SHORT = {"rank": "r", "lr": "lr", "seed": "seed", "samples": "n"}  # before a wildcard's value
TAIL = 4000  # bytes of a log that hold its last line


@dataclass(frozen=True)
class Job:
    """What a job is called here, and where its log is."""

    name: str
    log: Path | None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Job:
        """From what Snakemake tells of a job."""
        given = {key: str(value) for key, value in dict(said["wildcards"] or {}).items()}
        given.pop("study", None)
        none = {("rank", "0"), ("lr", "0")}  # of methods that have neither
        values = [
            SHORT.get(key, "") + value for key, value in given.items() if (key, value) not in none
        ]
        logs = [Path(log) for log in said["log"]]
        return cls(" ".join([said["rule_name"], *values]), logs[0] if logs else None)

    @property
    def end(self) -> str:
        """The last words of its log; empty where it has none."""
        if self.log is None or not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL))
            return file.read().decode(errors="replace").strip()

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        said = self.end.splitlines() or ["its log is empty"]
        return f"{said[-1]} ({self.log})" if self.log else "it has no log"

    @property
    def step(self) -> str:
        """How far its own bar is; empty where it has none."""
        found = STEP.findall(self.end)
        if not found:
            return ""
        step, loss = found[-1]
        return f": step {step}, loss {loss}" if loss else f": step {step}"


class Run:
    """The jobs of a run, on a stream: with a bar at its end where that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.total, self.done, self.failed = stream, 0, 0, 0
        self.jobs: dict[int, Job] = {}
        self.began: dict[int, float] = {}
        self.bar: tqdm[Any] | None = None
        self.ended = Event()

    def say(self, line: str) -> None:
        """Write a line, above the bar."""
        tqdm.write(line, file=self.stream)

    def plan(self, total: int) -> None:
        """So many jobs are to run."""
        self.total = total
        self.say(f"{total} jobs to run; all that is said of them stands in .snakemake/log")
        if self.stream.isatty():
            self.bar = tqdm(
                total=total,
                file=self.stream,
                bar_format=FORMAT,
                dynamic_ncols=True,
                leave=False,
                mininterval=0,
            )
            Thread(target=self._refresh, daemon=True).start()

    def start(self, numbers: list[int]) -> None:
        """These jobs have begun."""
        self.began |= dict.fromkeys(numbers, time.monotonic())

    def finish(self, number: int) -> None:
        """A job has ended well."""
        now = time.monotonic()
        seconds = now - self.began.pop(number, now)
        self.done += 1
        self.say(f"{self.done}/{self.total} {self._job(number).name} ({seconds:.0f} s)")
        if self.bar is not None:
            self.bar.update()

    def fail(self, number: int) -> None:
        """A job has failed."""
        self.began.pop(number, None)
        self.failed += 1
        self.say(f"failed: {self._job(number).name}: {self._job(number).reason}")

    def end(self) -> None:
        """Take the bar away."""
        self.ended.set()
        if self.bar is not None:
            self.bar.close()

    def now(self) -> str:
        """How many run and failed, and how far that is which began first."""
        running = dict(self.began)
        said = f"{len(running)} running, {self.failed} failed"
        if running:
            oldest = self._job(min(running, key=running.__getitem__))
            said += f"; {oldest.name}{oldest.step}"
        return said

    def _job(self, number: int) -> Job:
        """The job, or its number where nothing was said of it, as in a group of jobs."""
        return self.jobs.get(number, Job(f"job {number}", None))

    def _refresh(self) -> None:
        assert self.bar is not None
        while not self.ended.wait(1):
            self.bar.postfix = self.now()
            self.bar.refresh()


def take_over(logger: Logger, settings: OutputSettingsLoggerInterface) -> None:
    """Show a run's events as lines and a bar, unless the command asks for more or for less."""
    if settings.dryrun or settings.verbose or settings.printshellcmds or settings.quiet:
        return
    for usual in logger.handlers[:]:
        if usual.name == "DefaultStreamHandler" and isinstance(usual, StreamHandler):
            logger.removeHandler(usual)
            logger.addHandler(Terminal(usual))


class Terminal(Handler):
    """Snakemake's events as lines and a bar, where its own handler would write them."""

    def __init__(self, usual: StreamHandler[TextIO]) -> None:
        super().__init__(usual.level)
        self.setFormatter(usual.formatter)
        self.run = Run(usual.stream)

    def emit(self, record: LogRecord) -> None:
        """Show a record, or leave it to the log."""
        event, said = getattr(record, "event", None), record.__dict__
        if event == LogEvent.RUN_INFO:
            self.run.plan(said["stats"]["total"])
        elif event == LogEvent.JOB_INFO:
            self.run.jobs[said["jobid"]] = Job.of(said)
        elif event == LogEvent.JOB_STARTED:
            self.run.start(said["jobs"])
        elif event == LogEvent.JOB_FINISHED:
            self.run.finish(said["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self.run.fail(said["jobid"])
        elif _is_said(record):
            self.run.say(self.format(record))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.run.end()
        super().close()


def _is_said(record: LogRecord) -> bool:
    """Whether a record is neither about one job, which has a line of its own, nor noise."""
    event = getattr(record, "event", None)
    if event is None:
        return record.levelno > INFO or not NOISE.match(record.getMessage())
    is_error = event in {LogEvent.ERROR, LogEvent.GROUP_ERROR}
    return is_error and getattr(record, "exception", None) != "RuleException"
