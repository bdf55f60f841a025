from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lorasb.bundled.facts import RELATIONS, VALUES, choices, true_value
from lorasb.bundled.vocabulary import CREATURES


def test_values_name_their_relation() -> None:
    assert len(set(VALUES)) == len(VALUES)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_no_value_is_true_of_too_many_creatures(relation) -> None:
    counts = Counter(true_value(creature, relation) for creature in CREATURES)
    assert set(counts) <= set(relation.values)
    # a model that always answers the commonest value must not look as if it knew the world
    assert max(counts.values()) <= 14


@pytest.mark.parametrize("related", [0, 1, 2])
def test_choices_hold_the_truth_once_and_the_asked_number_of_related_values(related) -> None:
    rng = np.random.default_rng(related)
    places = Counter()
    for creature in CREATURES:
        for relation in RELATIONS:
            listed = choices(rng, creature, relation, related=related)
            truth = true_value(creature, relation)
            elsewhere = {true_value(creature, r) for r in RELATIONS if r is not relation}
            assert len(set(listed)) == 4
            assert listed.count(truth) == 1
            assert len(elsewhere & set(listed)) == related
            assert sum(value in relation.values for value in listed) == 4 - related
            places[listed.index(truth)] += 1
    # 280 questions: 70 a place expected, four standard deviations are 29
    assert all(abs(places[place] - 70) < 29 for place in range(4))
