"""Types of command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    """Return a type of arguments that are numbers from ``minimum`` to ``maximum``."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"must be a number from {minimum:g} to {maximum:g}")
        return value

    return parse


def whole_number(minimum: int) -> Callable[[str], int]:
    """Return a type of arguments that are whole numbers of at least ``minimum``, below 2**31."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not minimum <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"must be a whole number, {minimum} or more")
        return int(text)

    return parse
