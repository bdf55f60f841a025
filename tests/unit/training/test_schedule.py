import pytest

from lorasb.training.schedule import total_steps


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"), [(7, None, 7), (None, 1, 4), (None, 0.5, 2), (None, 2, 7)]
)
def test_total_steps_rounds_up(steps, epochs, expected):
    training = {"steps": steps, "epochs": epochs, "batch_size": 10, "gradient_accumulation": 3}
    assert total_steps({"training": training}, rows=100) == expected
