"""What the workflow asks of a study."""

import pytest

from lorasb.study.compared import has_evaluation_sets, tasks_chosen_by_loss, varied_arguments
from lorasb.study.study import Study
from tests.unit.study.test_study import changed


@pytest.mark.parametrize(
    ("study", "arguments"),
    [
        ("quickstart", set()),
        ("ablation-scale", {"scaling"}),
        ("ablation-samples", {"samples"}),
        ("ablation-init", {"noise", "signal"}),
        ("directions-minilm", {"scaling", "samples", "start", "signal"}),
    ],
)
def test_arguments_that_vary_alone(study, arguments):
    assert varied_arguments(Study(study)) == arguments


def test_an_argument_that_varies_with_another_does_not_count(project):
    file = "config/methods/lora-sb.yaml"
    changed(project, file, "{scaling: 4.0}", "{scaling: 4.0, start: undivided}")
    changed(project, file, "{scaling: 0.25}", "{scaling: 1.0}")
    assert "scaling" not in varied_arguments(Study("directions-minilm"))


def test_evaluation_sets_are_found(project):
    assert not has_evaluation_sets(Study("ablation-scale"))
    changed(
        project, "config/studies/ablation-scale.yaml", "[arithmetic, world]", "[world, metamath]"
    )
    assert has_evaluation_sets(Study("ablation-scale"))


def test_tasks_whose_rates_are_chosen_by_a_loss_are_found():
    assert tasks_chosen_by_loss(Study("smollm2-arithmetic")) == ["gsm8k-small"]
    assert tasks_chosen_by_loss(Study("quickstart")) == []
