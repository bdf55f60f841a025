from __future__ import annotations

import pytest

from lorasb.tasks.answers import EXTRACTORS
from lorasb.tasks.answers.reply import own_part

REPLY = "so 5 in all.\nThe answer is: 5"


@pytest.mark.parametrize(
    "turn",
    [
        "\n\n### Instruction:\nHow many are 3 + 4?\n\n### Response:\nThe answer is: 7",
        " ### Instruction: How many are 3 + 4? The answer is: 7",
        "\n## Question\nHow many are 3 + 4? The answer is: 7",
        "\n### Response:\nThe answer is: 7",
        "\n\nQuestion: How many are 3 + 4?\nThe answer is: 7",
        "\nQ: How many are 3 + 4?\nA: The answer is: 7",
        "\n**Question:** How many are 3 + 4? The answer is: 7",
        "\nNext question: How many are 3 + 4? The answer is: 7",
        ". Question: How many are 3 + 4? The answer is: 7",
        "\nHuman: How many are 3 + 4?\nAssistant: The answer is: 7",
        "\nUser: and 7?",
        "\nInstruction: The answer is: 7",
        "\nProblem: The answer is: 7",
        "\n\nBelow is an instruction that describes a task. The answer is: 7",
        "</s>The answer is: 7",
        "<|im_end|>\n<|im_start|>user\nThe answer is: 7",
        "<end_of_turn>The answer is: 7",
        "[INST] The answer is: 7 [/INST]",
    ],
)
def test_what_follows_the_reply_is_not_read(turn):
    assert own_part(REPLY + turn).rstrip(" .\n") == REPLY
    for name, found in (("stated_value", "5"), ("last_value", "5"), ("stated_latex", "5")):
        assert EXTRACTORS[name](REPLY + turn) == found, name


@pytest.mark.parametrize(
    "text",
    [
        REPLY,
        "### Response:\nThe answer is: 5",
        "Question: 3 + 2. The answer is: 5",
        "She had 5 questions: 3 easy and 2 hard.",
        "3 + 2 = 5\n#### 5",
        "The instruction is clear: 5.",
        "Question 1: no. Question 2: yes. So 5.",
        "",
    ],
)
def test_a_reply_without_another_turn_is_read_whole(text):
    assert own_part(text) == text


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_no_extractor_reads_another_turn(name):
    reply = "the correct answer is true"
    turn = "\n\n### Instruction:\nThe answer is: 7, \\boxed{7}, false, solution1, #### 7"
    assert EXTRACTORS[name](reply + turn) == EXTRACTORS[name](reply)
