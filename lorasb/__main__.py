"""The command line: `python -m lorasb VERB ...`, one verb for each rule that computes."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence

from lorasb.errors import UserError
from lorasb.grid import Cell

Arguments = argparse.Namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0, or 1 after a line on stderr that says what the user can mend."""
    arguments = _parser().parse_args(argv)
    # notes of pinned libraries to their own callers; and PEFT asks the hub for a base model's
    # configuration each time it saves, which it does not need
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.filterwarnings("ignore", message="Could not find a config file")
    try:
        if "threads" in arguments:
            _prepare_machine(arguments.threads)
        arguments.run(arguments)
    except UserError as error:
        sys.stderr.write(f"lorasb {arguments.verb}: error: {error}\n")
        return 1
    except BrokenPipeError:
        return 1
    return 0


def _prepare_machine(threads: int | None) -> None:
    """For verbs that compute: a GPU of their own, and so many CPU threads."""
    from lorasb.machine import claim_gpu

    claim_gpu()
    if threads:
        import torch

        torch.set_num_threads(threads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lorasb", description="Steps of the benchmark; run from the project's root."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    task = ("study", "model", "task")
    cell = (*task, "variant", "rank", "lr", "seed")
    threads = "threads"
    _verb(verbs, "prepare", _prepare, task, "tokenise the splits of a task")
    _verb(
        verbs,
        "estimate-gradient",
        _estimate,
        (*task, "samples", "seed", threads),
        "gradient at the base model",
    )
    _verb(
        verbs,
        "factorize-gradient",
        _factorize_gradient,
        (*task, "samples", "seed", threads),
        "SVD of the step",
    )
    _verb(
        verbs,
        "factorize-weights",
        _factorize_weights,
        ("study", "model", threads),
        "SVD of weights",
    )
    train = _verb(verbs, "train", _train, (*cell, threads), "train one cell")
    train.add_argument("--cell-hash", help="refuse to run if the settings have another hash")
    _verb(verbs, "predict", _predict, (*cell, threads), "predict with a trained cell")
    for name, run, arguments, text in (
        ("score", _score, (*task, "split"), "metrics and per-item scores of all cells of a task"),
        ("directions", _directions, (*task, threads), "updates against full fine-tuning's"),
        ("collect", _collect, ("study",), "the tidy tables of a study"),
        ("collect-sweep", _collect_sweep, ("study",), "the tables of a study's sweep"),
        ("publish", _publish, ("study",), "copy tables to results/published"),
    ):
        verb = _verb(verbs, name, run, arguments, text)
        verb.add_argument("--available", action="store_true", help="leave out cells that failed")
    _verb(verbs, "measure-spectra", _spectra, (*task, threads), "spectra of a task's gradients")
    plan = _verb(verbs, "plan", _plan, ("study",), "cells, GPU hours, memory and disk of a study")
    plan.add_argument("--teraflops", type=float, help="speed of one GPU where none was measured")
    _verb(verbs, "check-claims", _check_claims, ("study",), "claims that need no training run")
    _verb(verbs, "count", _count, ("model", "method", "rank"), "closed-form parameter counts")
    pretrain = _verb(verbs, "pretrain", _pretrain, (threads,), "build the bundled model again")
    pretrain.add_argument("--output", required=True)
    byte_model = _verb(verbs, "byte-model", _byte_model, (), "build the untrained byte model again")
    byte_model.add_argument("--output", required=True)
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[Arguments], None],
    arguments: Sequence[str],
    text: str,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    for argument in arguments:
        number = argument in {"rank", "samples", "seed", "threads"}
        optional = {"threads", "rank"} if name == "count" else {"threads"}
        verb.add_argument(
            f"--{argument}", type=int if number else str, required=argument not in optional
        )
    verb.set_defaults(run=run)
    return verb


def _cell(arguments: Arguments) -> Cell:
    return Cell(
        arguments.study,
        arguments.model,
        arguments.task,
        arguments.variant,
        arguments.rank,
        arguments.lr,
        arguments.seed,
    )


def _prepare(arguments: Arguments) -> None:
    from lorasb.stages.prepare_task import prepare_task

    prepare_task(arguments.study, arguments.model, arguments.task)


def _estimate(arguments: Arguments) -> None:
    from lorasb.stages.estimate_gradient import estimate_gradient

    estimate_gradient(
        arguments.study, arguments.model, arguments.task, arguments.samples, arguments.seed
    )


def _factorize_gradient(arguments: Arguments) -> None:
    from lorasb.stages.factorize import factorize_gradient

    factorize_gradient(
        arguments.study, arguments.model, arguments.task, arguments.samples, arguments.seed
    )


def _factorize_weights(arguments: Arguments) -> None:
    from lorasb.stages.factorize import factorize_weights

    factorize_weights(arguments.study, arguments.model)


def _train(arguments: Arguments) -> None:
    from lorasb.stages.train import train_cell

    train_cell(_cell(arguments), arguments.cell_hash)


def _predict(arguments: Arguments) -> None:
    from lorasb.stages.predict import predict_cell

    predict_cell(_cell(arguments))


def _score(arguments: Arguments) -> None:
    from lorasb.collect import score_task

    score_task(
        arguments.study,
        arguments.model,
        arguments.task,
        arguments.split,
        available=arguments.available,
    )


def _directions(arguments: Arguments) -> None:
    from lorasb.probes.updates import probe_directions

    probe_directions(
        arguments.study, arguments.model, arguments.task, available=arguments.available
    )


def _spectra(arguments: Arguments) -> None:
    from lorasb.probes.spectra import measure_spectra

    measure_spectra(arguments.study, arguments.model, arguments.task)


def _collect(arguments: Arguments) -> None:
    from lorasb.collect import collect

    collect(arguments.study, available=arguments.available)


def _collect_sweep(arguments: Arguments) -> None:
    from lorasb.collect import collect_sweep

    collect_sweep(arguments.study, available=arguments.available)


def _plan(arguments: Arguments) -> None:
    from lorasb.stages.plan import TERAFLOPS, summary

    sys.stdout.write(summary(arguments.study, arguments.teraflops or TERAFLOPS))


def _check_claims(arguments: Arguments) -> None:
    from lorasb.claims.ledger import write_exact_claims

    write_exact_claims(arguments.study)


def _publish(arguments: Arguments) -> None:
    from lorasb.stages.publish import publish

    publish(arguments.study, available=arguments.available)


def _count(arguments: Arguments) -> None:
    from lorasb.config import read as config
    from lorasb.methods.counts import count_report
    from lorasb.methods.registry import variant_method
    from lorasb.models.spec import ModelSpec

    method = variant_method(arguments.method)
    spec = ModelSpec.from_config(config.load_model_config(arguments.model))
    names = {"model": arguments.model, "method": arguments.method}
    report = names | count_report(spec, method.count, arguments.rank or 0)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _pretrain(arguments: Arguments) -> None:
    from pathlib import Path

    from lorasb.bundled.pretrain import pretrain

    pretrain(Path(arguments.output), threads=arguments.threads or 1)


def _byte_model(arguments: Arguments) -> None:
    from pathlib import Path

    from lorasb.bundled.byte_model import write_byte_model

    write_byte_model(Path(arguments.output))


if __name__ == "__main__":
    sys.exit(main())
