"""The command line: `lorasb VERB ...` or `python -m lorasb VERB ...`; a rule's verb bears its name.

A verb is a function; its parameters are the options, those that have a place come without a name.
The parameter `cell` stands for the coordinates of one.
"""

from __future__ import annotations

import argparse
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lorasb.errors import UserError, refusal
from lorasb.service import request


@dataclass(frozen=True)
class Verb:
    """Where the function of a verb is, what it does, and whether it computes for long."""

    module: str
    text: str
    computes: bool = False


VERBS = {
    "fetch-model": Verb("stages.fetch_model", "fetch and convert a model that is a GGUF file"),
    "prepare-task": Verb("stages.prepare_task", "tokenise the splits of a task"),
    "estimate-gradient": Verb(
        "stages.estimate_gradient", "gradient at the base model", computes=True
    ),
    "estimate-activations": Verb(
        "stages.estimate_activations", "inputs of the adapted layers", computes=True
    ),
    "factorize-gradient": Verb("stages.factorize", "SVD of the first step", computes=True),
    "factorize-weights": Verb("stages.factorize", "SVD of the adapted weights", computes=True),
    "train": Verb("stages.train", "train one cell", computes=True),
    "predict": Verb("stages.predict", "predict with a trained cell", computes=True),
    "score": Verb("stages.score", "metrics and per-item scores of all cells of a task"),
    "probe-directions": Verb(
        "stages.probe_directions", "updates against full fine-tuning's", computes=True
    ),
    "measure-spectra": Verb(
        "stages.measure_spectra", "spectra of a task's gradients", computes=True
    ),
    "collect": Verb("stages.collect", "the tidy tables of a study"),
    "select-lr": Verb("stages.select_lr", "the tables of a study's sweep"),
    "write-names": Verb("stages.write_names", "labels and order of what a study's tables name"),
    "tabulate-counts": Verb("stages.tabulate_counts", "closed-form counts of a study's variants"),
    "check-exact-claims": Verb("stages.check_exact_claims", "claims that need no training run"),
    "plan": Verb("stages.plan", "cells, GPU hours, memory and disk of a study"),
    "publish": Verb("stages.publish", "release tables and figures in results/published"),
    "bench": Verb("stages.bench", "measure a start, a step or a run", computes=True),
    "count": Verb("stages.count", "closed-form parameter counts"),
    "export": Verb("stages.export", "a cell's adapter for others, with a model card"),
    "export-results": Verb("stages.export_results", "scores in lm-evaluation-harness's schema"),
    "show": Verb("stages.show", "a study's table, a cell's origin, or the rows of a claim"),
    "pretrain": Verb("bundled.pretrain", "build the bundled model again", computes=True),
    "byte-model": Verb("bundled.byte_model", "build the untrained byte model again"),
}
HELP = {
    "beside": "a CSV with the columns model, variant, rank: what to count besides",
    "adapters": "so many adapters beside one base model",
    "json": "all counts, those of each weight too, as JSON",
    "memory": "say what takes more, such as 24GB",
    "available": "leave out cells that failed",
    "cell_hash": "refuse to run if the settings have another hash",
    "kind": "start, step or run",
    "large": "release files above 1 MB too",
    "to": "the folder to write, new or empty",
    "what": "a study, the folder of a cell, or some words of a claim",
    "folder": "the folder of a cell",
    "output": "the folder to write",
    "results": "the study whose jobs are counted",
    "teraflops": "speed of one GPU where none was measured",
    "threads": "CPU threads",
}


# and bash, zsh or tcsh: prints the script that completes verbs and options in that shell
COMPLETION = "--print-completion"
CELL_OPTIONS = ("study", "model", "task", "variant", "rank", "lr", "seed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0, or another status after a line on stderr that says why.

    1 for what the user can mend; 128 and the signal's number where one ended it: 130 for Ctrl-C,
    143 for SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    _open_streams()
    served = request(argv)
    if served is not None:
        return served if served >= 0 else _ended(argv, signal.Signals(-served))
    # notes of pinned libraries to their own callers; and PEFT asks the hub for a base model's
    # configuration each time it saves, which it does not need
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.filterwarnings("ignore", message="Could not find a config file")
    try:
        with _interrupted_by_sigterm():
            options = vars(_parser(argv).parse_args(argv))
            _run(options.pop("verb"), options)
            sys.stdout.flush()
    except BrokenPipeError:  # who read the output has gone
        _drop_unwritten()
        return 1
    except (UserError, ModuleNotFoundError, OSError) as error:
        _drop_unwritten()
        line = _line(error)
        if line is None:
            raise
        _say(f"lorasb {argv[0]}: error: {line}")
        return 1
    except KeyboardInterrupt as interrupt:
        return _ended(argv, signal.Signals(*(interrupt.args or [signal.SIGINT])))
    return 0


def _drop_unwritten() -> None:
    """What stdout did not take must not fail again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ended(argv: Sequence[str], number: signal.Signals) -> int:
    _say(f"lorasb {argv[0]}: ended by {number.name}; give the same command again to go on")
    return 128 + number


def _line(error: Exception) -> str | None:
    """What the user can mend, in one line; None where the error may be a fault of the code."""
    if isinstance(error, OSError):
        return refusal(error)
    if not isinstance(error, ModuleNotFoundError):
        return str(error)
    if error.name is None or error.name.startswith("lorasb"):
        return None
    # the tuner alone has been installed
    return f"needs the package {error.name}: pip install 'lorasb[suite]'"


def _say(line: str) -> None:
    """Write a line to stderr, and not at the end of a bar that was not finished."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def _open_streams() -> None:
    """Where stdout or stderr was closed, write to nothing, and not to the next file that opens."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r+"))


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: what it began to write is removed."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(name: str, options: dict[str, Any]) -> None:
    function = _function(name)
    parameters = _parameters(function)
    if VERBS[name].computes:
        _say_versions()
        threads = options.pop("threads")
        if threads:
            import torch

            torch.set_num_threads(threads)
        options |= {"threads": threads or 1} if "threads" in parameters else {}
    if "study" in options:
        from lorasb.study.study import Study

        study = Study.load(options["study"])
        study.check(**options)
        if "cell" in parameters:
            options["cell"] = study.cell(**{key: options.pop(key) for key in CELL_OPTIONS})
    places = [name for name, parameter in parameters.items() if _has_place(parameter)]
    function(*[options.pop(name) for name in places], **options)


def _say_versions() -> None:
    from lorasb.provenance import versions_line

    if line := versions_line():
        sys.stderr.write(f"{line}\n")


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lorasb", description="Steps of the benchmark; run from the project's root."
    )
    from importlib import metadata  # takes a third of the start of a job that asks a service

    version = f"lorasb {metadata.version('lorasb')}"
    parser.add_argument("--version", action="version", version=version)
    completion = COMPLETION in argv
    if completion:
        import shtab

        shtab.add_argument_to(parser, COMPLETION)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        subparser = verbs.add_parser(name, help=verb.text, description=verb.text)
        if completion or name in argv[:1]:  # otherwise no other module is imported
            _add_options(subparser, _parameters(_function(name)), computes=verb.computes)
    return parser


def _add_options(
    parser: argparse.ArgumentParser, parameters: Mapping[str, inspect.Parameter], *, computes: bool
) -> None:
    for name, parameter in parameters.items():
        optional = parameter.default is not parameter.empty
        if name == "cell":
            for key in CELL_OPTIONS:
                parser.add_argument(f"--{key}", required=True)
        elif _has_place(parameter):
            parser.add_argument(name, metavar=name.upper(), help=HELP.get(name))
        elif parameter.annotation is bool:
            parser.add_argument(_flag(name), action="store_true", help=HELP.get(name))
        elif name != "threads":
            parser.add_argument(
                _flag(name),
                type=_type(parameter.annotation),
                required=not optional,
                default=parameter.default if optional else None,
                help=HELP.get(name),
            )
    if computes:
        parser.add_argument("--threads", type=int, help=HELP["threads"])


def _function(name: str) -> Callable[..., None]:
    module = import_module(f"lorasb.{VERBS[name].module}")
    function: Callable[..., None] = getattr(module, name.replace("-", "_"))
    return function


def _has_place(parameter: inspect.Parameter) -> bool:
    """Whether it is given by its place, without a name."""
    return parameter.kind is parameter.POSITIONAL_ONLY


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function, eval_str=True).parameters


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _type(annotation: Any) -> type:
    """What converts an option's text; an optional one is of its first type."""
    found: type = getattr(annotation, "__args__", (annotation,))[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
