"""Types of command-line arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from chalicelib.wiring import Container

Action = Callable[[Container, argparse.Namespace], int]


def actions_of(parser: argparse.ArgumentParser) -> Callable[[str, Action, str], argparse.ArgumentParser]:
    """Return a function that adds an action to a command: its name, its function, and a text about it."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, action: Action, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(action=action)
        return sub

    return add


def run_action(container: Container, options: argparse.Namespace) -> int:
    """Run the action that the arguments name."""
    action: Action = options.action
    return action(container, options)


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
