"""What the tasks' rules say of replies as models write them: strict and flexible verdicts."""

from __future__ import annotations

from functools import cache

import pytest

from lorasb.config.read import load_task_config
from lorasb.evaluation.score import score_rows
from lorasb.tasks.task import GenerationTask, Task

YES, NO = (True, True), (False, False)
FLEXIBLE = (False, True)

# task and evaluation set, gold text, replies with their verdicts
GSM8K = "metamath", "gsm8k"
MATH = "metamath", "math"
TABLE = [
    # GSM8K: the number that is stated, or the last one
    (*GSM8K, "#### 18", "2 * 9 = 18\nThe answer is: 18", YES),
    (*GSM8K, "#### 18", "The answer is $18.00.", YES),
    (*GSM8K, "#### 18", "The answer is: **18** dollars", YES),
    (*GSM8K, "#### 18", "The answer is: \\boxed{18}", YES),
    (*GSM8K, "#### 18", "so she makes 18 dollars", FLEXIBLE),
    (*GSM8K, "#### 18", "#### 18", FLEXIBLE),
    (*GSM8K, "#### 18", "The answer is: 18. This took 5 minutes.", (True, False)),
    (*GSM8K, "#### 18", "The answer is: 17.6", NO),
    (*GSM8K, "#### 18", "The answer is: 18 or 19", NO),
    (*GSM8K, "#### 18", "The answer is: 18\n\n### Instruction:\nAdd 3 + 4.\nThe answer is: 7", YES),
    (*GSM8K, "#### 18", "The answer is: 18\nQuestion: 3 + 4?\nThe answer is: 7", YES),
    (*GSM8K, "#### 18", "18</s>", FLEXIBLE),
    (*GSM8K, "#### 18", "", NO),
    (*GSM8K, "#### 10,000", "The answer is: 10,\\!000", YES),
    (*GSM8K, "#### 10,000", "The answer is: 10{,}000", YES),
    (*GSM8K, "#### 10,000", "The answer is: 10 000", YES),
    (*GSM8K, "#### 10,000", "The answer is: 10\u202f000", YES),
    (*GSM8K, "#### 10,000", "The answer is: 10'000", YES),
    (*GSM8K, "#### 10,000", "The answer is: 10^4", YES),
    (*GSM8K, "#### 10,000", "The answer is: 1e4", YES),
    (*GSM8K, "#### 1500", "The answer is: 1.5 \\times 10^3", YES),
    (*GSM8K, "#### 2500", "The answer is: 2 500", YES),
    (*GSM8K, "#### 2500", "The answer is: $2.500,00", YES),
    (*GSM8K, "#### 500", "The answer is: 2 500", NO),
    (*GSM8K, "#### 2", "The answer is: 2 500", NO),
    (*GSM8K, "#### 5", "The answer is: \u20135", NO),
    (*GSM8K, "#### -5", "The answer is: \u20135", YES),
    (*GSM8K, "#### -5", "The answer is: \u22125 degrees", YES),
    (*GSM8K, "#### -5", "The answer is: (-5)", YES),
    (*GSM8K, "#### 24", "The answer is: 24 m^2", YES),
    (*GSM8K, "#### 24", "The answer is: 24 cm\u00b2.", YES),
    (*GSM8K, "#### 24", "The answer is: 24 m2", YES),
    (*GSM8K, "#### 24", "The answer is: 24\\text{ m}^2", YES),
    (*GSM8K, "#### 2", "The area is 24 m^2", NO),
    (*GSM8K, "#### 4", "a ratio of 3:4", NO),
    (*GSM8K, "#### 45", "at 3:45", NO),
    (*GSM8K, "#### 10", "The answer is: $5-$10", NO),
    (*GSM8K, "#### 10", "5\u201310 apples", NO),
    (*GSM8K, "#### 12", "The answer is: \\frac12", NO),
    (*GSM8K, "#### 2", "The answer is: \\frac{1}{2}", NO),
    (*GSM8K, "#### 5", "The answer is: 3,5", NO),
    (*GSM8K, "#### 50", "The answer is: 50%", YES),
    (*GSM8K, "#### 500", "The answer is: Rs. 500", YES),
    (*GSM8K, "#### 5", "The answer is: the 5th", YES),
    # MATH: the normal form of what is stated, or the same mathematics
    (*MATH, "\\boxed{\\frac12}", "The answer is: \\frac12", YES),
    (*MATH, "\\boxed{\\frac12}", "The answer is: \\tfrac{1}{2}", YES),
    (*MATH, "\\boxed{\\frac12}", "The answer is: $0.5$.", YES),
    (*MATH, "\\boxed{\\frac12}", "The answer is: \u00bd", YES),
    (*MATH, "\\boxed{\\frac12}", "The answer is:\n\\[\n\\dfrac{1}{2}\n\\]", YES),
    (*MATH, "\\boxed{\\frac12}", "so $x = \\frac{1}{2}$", FLEXIBLE),
    (*MATH, "\\boxed{\\frac12}", "The answer is: 12", NO),
    (*MATH, "\\boxed{3\\frac12}", "The answer is: \\frac{7}{2}", YES),
    (*MATH, "\\boxed{3\\frac12}", "The answer is: 3 1/2", YES),
    (*MATH, "\\boxed{\\frac{11}{2}}", "The answer is: 1 1/2", NO),
    (*MATH, "\\boxed{10{,}000}", "The answer is: 10,\\!000", YES),
    (*MATH, "\\boxed{10{,}000}", "The answer is: 10 000", YES),
    (*MATH, "\\boxed{-5}", "The answer is: \u20135", YES),
    (*MATH, "\\boxed{5}", "The answer is: \u20135", NO),
    (*MATH, "\\boxed{24}", "The answer is: 24 \\text{ m}^2", YES),
    (*MATH, "\\boxed{24}", "The answer is: 24 m^2", YES),
    (*MATH, "\\boxed{24}", "The answer is: 24 square units.", YES),
    (*MATH, "\\boxed{1500}", "The answer is: 1.5 \\times 10^3", YES),
    (*MATH, "\\boxed{3:4}", "The answer is: 3:4", YES),
    (*MATH, "\\boxed{4}", "The answer is: 3:4", NO),
    (*MATH, "\\boxed{34}", "The answer is: 3 4", NO),
    (*MATH, "\\boxed{7}", "The answer is: 7\n\nQ: 1 + 1?\nThe answer is: 2", YES),
    # common sense: the trained sentence, or the option that is stated
    *[
        ("commonsense", name, f"the correct answer is {gold}", reply.format(gold, other), verdicts)
        for name, gold, other in (
            ("boolq", "false", "true"),
            ("piqa", "solution2", "solution1"),
            ("siqa", "answer2", "answer3"),
            ("hellaswag", "ending1", "ending3"),
            ("winogrande", "option2", "option1"),
        )
        for reply, verdicts in (
            ("the correct answer is {0}", YES),
            ("The correct answer is **{0}**.", YES),
            ('"the correct answer is ({0})"', YES),
            ("the correct answer is {0}\n\n### Instruction:\nthe correct answer is {1}", YES),
            ("{0}", FLEXIBLE),
            ("{1}, {0}. The correct answer is {0}", FLEXIBLE),
            ("Answer format: {1}/{0}\nthe correct answer is {0}", FLEXIBLE),
            ("The correct answer is {1}. Wait, actually the correct answer is {0}", FLEXIBLE),
            ("The correct answer is {1}. No, it's {0}.", FLEXIBLE),
            ("not {1}; the correct answer is {0}", FLEXIBLE),
            ("{0}, not {1}", FLEXIBLE),
            ("the correct answer is {1}", NO),
            ("not {0}", NO),
            ("the correct answer is not {0}", NO),
            ("{0} is wrong, so the correct answer is {1}", NO),
            ("I cannot say.", NO),
        )
    ],
    (
        "commonsense",
        "hellaswag",
        "the correct answer is ending1",
        "Ending3 is out of place here; the correct answer is ending1",
        FLEXIBLE,
    ),
    ("world", None, "forest is option2 .", "forest is option2 .", YES),
    ("world", None, "forest is option2 .", "Forest is option2.", FLEXIBLE),
    ("arithmetic", None, "2 + 3 = 5 .", "2 + 3 = 5 .", YES),
    ("arithmetic", None, "2 + 3 = 5 .", "2 + 4 = 6 , 6 - 1 = 5 .", FLEXIBLE),
    ("gsm8k", None, "3 * 6 = 18\n#### 18", "#### 18", YES),
    ("gsm8k", None, "3 * 6 = 18\n#### 18", "#### 18\nQuestion: 3 + 4?\n#### 7", YES),
]


@cache
def verdicts(task: str, name: str | None) -> dict[tuple[str, str], tuple[bool, bool]]:
    """Of all of the task's rows at once, since math-verify takes a second to start."""
    found = Task.from_config(task, load_task_config(task))
    assert isinstance(found, GenerationTask)
    rows = [row for row in TABLE if row[:2] == (task, name)]
    predictions = [
        {"item": item, "label": gold, "prediction": reply}
        for item, (*_, gold, reply, _) in enumerate(rows)
    ]
    _, items = score_rows(found.part(name), predictions)
    return {
        (row["label"], row["prediction"]): (item["strict"] == 1.0, item["flexible"] == 1.0)
        for row, item in zip(predictions, items, strict=True)
    }


@pytest.mark.parametrize(("task", "name", "gold", "reply", "right"), TABLE)
def test_strict_and_flexible_verdict(task, name, gold, reply, right):
    assert verdicts(task, name)[gold, reply] == right
