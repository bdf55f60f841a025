"""The page's tables, made once."""

from __future__ import annotations

import pytest

from analysis.names import Names
from analysis.report.inputs import Tables
from analysis.report.pairs import Pairs, pairs
from analysis.report.points import Point, points
from tests.analysis.conftest import NAMES
from tests.analysis.report.studies import many, page_tables


@pytest.fixture(scope="session")
def study(tables) -> Tables:
    # enough for p-values that Holm's adjustment leaves below 0.05
    return page_tables(tables, resamples=999)


@pytest.fixture(scope="session")
def found(study) -> list[Point]:
    return points(study, NAMES)


@pytest.fixture(scope="session")
def compared(study, found) -> Pairs:
    return pairs(study, found)


@pytest.fixture(scope="session")
def forty() -> tuple[Tables, Names]:
    """A study with forty methods, and their names."""
    tables, names = many(40)
    return page_tables(tables, fail=False), names
