from __future__ import annotations

import pytest

from lorasb.tasks.answers.signs import plain_signs


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\u22125, \u20135, \u20145, \u20115, \uff0d5", "-5, -5, -5, -5, -5"),
        ("m\u00b2 10\u00b3 10\u207b\u00b9\u00b2", "m^2 10^3 10^-12"),
        ("\u00bd, 2\u00bd, 2 \u00be", "1/2, 2 1/2, 2 3/4"),
        ("3\u20444", "3/4"),
        ("10\u00a0000", "10,000"),
        ("1\u2009234\u202f567", "1,234,567"),
        (
            "10\\,000, 10\\;000, 10~000, 10{,}000, 10,\\!000",
            "10,000, 10,000, 10,000, 10,000, 10,000",
        ),
        ("5\u00a0kg", "5 kg"),
        ("1\u200b0", "10"),
        ("3\u22364", "3:4"),
        ("10 000", "10 000"),  # a plain blank may also part two numbers
        ("\\frac{1}{2}", "\\frac{1}{2}"),
    ],
)
def test_plain_signs(text, plain):
    assert plain_signs(text) == plain
