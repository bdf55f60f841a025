import pytest

from lorasb.errors import UserError
from lorasb.training.schedule import first_learning_rate, total_steps


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"), [(7, None, 7), (None, 1, 4), (None, 0.5, 2), (None, 2, 7)]
)
def test_total_steps_rounds_up(steps, epochs, expected):
    training = {"steps": steps, "epochs": epochs, "batch_size": 10, "gradient_accumulation": 3}
    assert total_steps({"training": training}, rows=100) == expected


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("warmup_stable_decay", "it needs more than the number of steps, which nothing here"),
        ("cosine_with_min_lr", "One of min_lr or min_lr_rate should be set"),
        ("cosinus", "cosinus is not a valid SchedulerType"),
    ],
)
def test_a_scheduler_that_cannot_be_made_is_one_line(scheduler, message):
    with pytest.raises(UserError, match=f"^scheduler '{scheduler}': {message}"):
        first_learning_rate(scheduler, 1e-3, 2, 10)
