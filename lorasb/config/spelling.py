"""The one spelling of a learning rate: it names folders, where two would be two runs."""

from __future__ import annotations

from decimal import Decimal

SMALLEST = 2.0**-126  # of float32's full precision; further down, steps round to nothing


def refuse_rate(text: str) -> None:
    """Refuse all but the shortest decimal, one digit before its point: `1e-4`, `2.5e-3`, `1e-0`.

    Raises
    ------
    ValueError
        If the text is no rate from 2^-126 to 10, or another spelling of one; it says the right one.
    """
    try:
        rate = float(text)
    except ValueError:
        raise ValueError("is not a number") from None
    if not SMALLEST <= rate < 10:
        raise ValueError(f"is not between {SMALLEST:.1e} and 10")
    if text != spelled(rate):
        raise ValueError(f"has the one spelling '{spelled(rate)}'")


def spelled(rate: float) -> str:
    """A rate below 10 as it is spelled."""
    _, digits, exponent = Decimal(repr(rate)).normalize().as_tuple()
    first, *rest = map(str, digits)
    power = len(rest) + int(exponent)
    return f"{first}{'.' if rest else ''}{''.join(rest)}e-{-power}"
