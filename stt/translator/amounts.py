"""Amounts as English writes them, and as Japanese does: 1.2 million is 120万."""

from __future__ import annotations

from decimal import Decimal

POWERS = ("thousand", "million", "billion", "trillion")
GROUPED = r"\d{1,3}(?:,\d{3})+"
_NUMBER = rf"(?:{GROUPED}|(?!0\d)\d+)(?:\.\d+)?"
POWER = rf"(?:\s(?:{'|'.join(POWERS)})\b)?+"  # without it 5 to 10 million-dollar were 5 to 10
AMOUNT = rf"-?{_NUMBER}{POWER}"


def value(amount: str) -> Decimal:
    """The number that `AMOUNT` found."""
    number, _, power = amount.replace(",", "").partition(" ")
    return Decimal(number) * (1000 ** (POWERS.index(power) + 1) if power else 1)


def said(amount: str) -> str:
    """1,250,000 as 125万; as it is where it is small or huge, has a fraction or may be a name."""
    if " " in amount:
        return in_japanese(value(amount))
    whole = amount.replace(",", "")
    name = whole == amount and not amount.endswith("0000")
    if name or "." in amount or not 10**4 <= int(whole) < 10**16:
        return amount
    return in_japanese(Decimal(whole))


def in_japanese(value: Decimal) -> str:
    """In 兆, 億 and 万, without a fraction."""
    left, said = int(abs(value)), "-" if value < 0 else ""
    for unit, size in (("兆", 10**12), ("億", 10**8), ("万", 10**4), ("", 1)):
        many, left = divmod(left, size)
        said += f"{many}{unit}" if many else ""
    return said or "0"
