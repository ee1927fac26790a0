"""Reads the values of a history file: from the text of a field to a value, a refusal or a remark.

Files come out of spreadsheets, R, pandas and databases. So there are many words for yes and no and for "no value", and
two decimal marks. A text with more than one meaning is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chalicelib.domain.items import key_of_id
from chalicelib.domain.tasks import MAX_NAME_LENGTH, MAX_SECONDS, Difficulty, name_key

MISSING = frozenset(
    (
        "",
        "na",
        "n/a",
        "n.a.",
        "#n/a",
        "#null!",
        "nan",
        "null",
        "none",
        "nil",
        "\\n",
        "(null)",
        "-",
        "--",
        "\u2013",
        "\u2014",
        ".",
        "..",
        "?",
        "missing",
        "undefined",
        "<na>",
        "nat",
    )
)
"""The words for "no value", in lower case."""

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""The earliest time that an answer may have. Before it, a time is a mistake of format."""

MINIMUM_SECONDS = 0.001
"""The shortest time that an answer may have, unless it is 0: "not measured"."""

_YES = ("1", "true", "t", "yes", "y", "correct", "right", "wahr", "ja", "vrai", "oui", "verdadero", "richtig")
_NO = ("0", "false", "f", "no", "n", "incorrect", "wrong", "falsch", "nein", "faux", "non", "falso")
_TRUTH = dict.fromkeys(_YES, True) | dict.fromkeys(_NO, False)
_LEVELS = {level.value: level.numeric for level in Difficulty} | {str(n): n for n in range(1, 5)}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_DOT_GROUPS = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+,[0-9]+")
_COMMA_GROUPS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+\.[0-9]*")
_DATE = re.compile(r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})(.*)", re.DOTALL)
_CLOCK_SKEW = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAXIMUM_USER_ID = 200


class Refused(NamedTuple):
    """A value that makes its row unusable. ``problem`` follows the value in a sentence."""

    problem: str


class Changed(NamedTuple):
    """A value that was taken as something else, with the remark of the report."""

    value: object
    remark: str


class Name(NamedTuple):
    """A subject or topic as written, and its key."""

    text: str
    key: str


class Item(NamedTuple):
    """The id of an item as written, and the item's key."""

    id: str
    key: int


def is_missing(text: str) -> bool:
    """Return True for a text that stands for "no value"."""
    return text.strip().lower() in MISSING


NOT_DECODED = Refused("has bytes that the file's encoding does not have")
IS_EMPTY = Refused("is empty")


class Parsed(dict[str, object]):
    """The values of one column by their texts. Each text is parsed once, as long as there are not too many.

    ``odd`` holds the texts that were refused or changed, so that rows without any are quickly passed.
    """

    LIMIT = 100_000

    def __init__(self, parse: Callable[[str], object], absent: object, missing: frozenset[str] = MISSING) -> None:
        super().__init__()
        self._parse = parse
        self._absent = absent
        self._missing = missing
        self.odd: set[str] = set()

    def __missing__(self, text: str) -> object:
        if len(self) >= self.LIMIT:
            self.clear()
            self.odd.clear()
        value = self._absent if text.strip().lower() in self._missing else _checked(self._parse, text)
        if isinstance(value, (Refused, Changed)):
            self.odd.add(text)
        self[text] = value
        return value


def _checked(parse: Callable[[str], object], text: str) -> object:
    if not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text):
        return NOT_DECODED
    return parse(text)


def user_id(text: str) -> object:
    """Return the id of a student, without the white space around it."""
    text = text.strip()
    if len(text) > _MAXIMUM_USER_ID:
        return Refused(f"is longer than {_MAXIMUM_USER_ID} characters")
    if not text.isprintable():
        return Refused("contains a control character")
    return text


def name(text: str) -> object:
    """Return a subject or topic with its key."""
    key = name_key(text)
    if not key:
        return Refused("has nothing visible")
    if len(text) > MAX_NAME_LENGTH:
        return Refused(f"is longer than {MAX_NAME_LENGTH} characters")
    if "\x00" in text:
        return Refused("contains a null character")
    return Name(text, key)


def item(text: str) -> object:
    """Return an item. An answer whose item cannot be stored is an answer without an item."""
    found = name(text)
    if isinstance(found, Refused):
        return Changed(None, f"an item that {found.problem} was left out")
    return Item(text, key_of_id(text))


def correctness(text: str) -> object:
    """Return True for a clear yes, False for a clear no."""
    word = text.strip().lower()
    if word in _TRUTH:
        return _TRUTH[word]
    if _NUMBER.fullmatch(word) and float(word) in (0.0, 1.0):
        return float(word) == 1.0
    return Refused("is neither a clear yes nor a clear no")


def difficulty(text: str) -> object:
    """Return a level from 1 to 4."""
    word = text.strip().lower()
    level = _LEVELS.get(word.removesuffix(".0"))
    return Refused("must be easy, medium, hard, expert or 1 to 4") if level is None else level


def whole(text: str) -> object:
    """Return a whole number of at most 18 digits."""
    text = text.strip()
    if re.fullmatch(r"[+-]?[0-9]{1,18}(\.0+)?", text):
        return int(text.partition(".")[0])
    return Refused("is not a whole number")


class Numbers:
    """Reads numbers of a file. ``comma`` says that the comma is the file's decimal mark, as where ";" separates."""

    def __init__(self, comma: bool) -> None:
        self._comma = comma

    def read(self, text: str) -> float | Refused:
        """Return a number, infinite ones included."""
        text = text.strip().replace("\u00a0", "").replace("\u202f", "").replace("\u2212", "-")
        if _DOT_GROUPS.fullmatch(text):
            text = text.replace(".", "").replace(",", ".")
        elif _COMMA_GROUPS.fullmatch(text):
            text = text.replace(",", "")
        elif text.count(",") == 1 and "." not in text:
            if not self._comma and re.fullmatch(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}", text):
                return Refused("has two meanings: is the comma a decimal mark?")
            text = text.replace(",", ".")
        if _NUMBER.fullmatch(text) or _INFINITE.fullmatch(text):
            return float(text)
        return Refused("is not a number")

    def seconds(self, unit: float = 1.0) -> Callable[[str], object]:
        """Return a reader of times that were written in units of ``unit`` seconds."""

        def read(text: str) -> object:
            number = self.read(text)
            if isinstance(number, Refused):
                return number
            seconds = number * unit
            if seconds < 0:
                return Changed(None, "a negative time was taken as unknown")
            if seconds > MAX_SECONDS:
                return Changed(None, "a time of more than a day was taken as unknown")
            if 0 < seconds < MINIMUM_SECONDS:
                return Changed(None, "a time of less than a millisecond was taken as unknown")
            return seconds + 0.0  # -0.0 and 0.0 must give the same identity

        return read


def micros(at: datetime) -> int:
    """Return the microseconds since 1970 UTC of an aware time."""
    return (at - _EPOCH) // timedelta(microseconds=1)


class Times:
    """Reads times that are not after ``now``, apart from a day for clocks that are wrong."""

    def __init__(self, now: datetime) -> None:
        self._latest = now + _CLOCK_SKEW
        self._bounds = (micros(EARLIEST), micros(self._latest))

    def read(self, text: str) -> object:
        """Return the microseconds since 1970 UTC of an ISO 8601 time, or of seconds (or ms, us, ns) since 1970."""
        text = text.strip()
        if _NUMBER.fullmatch(text):
            epoch = self._of_epoch(text)
            if epoch is not None:
                return epoch
        try:
            at = _datetime(text)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            return Refused("is no time: neither ISO 8601 nor seconds or milliseconds since 1970")
        if at > self._latest:
            return Refused("is in the future")
        if at < EARLIEST:
            return Refused(f"is before {EARLIEST.year}")
        return micros(at)

    def _of_epoch(self, text: str) -> int | None:
        """Return the microseconds of a number in the one unit that gives a possible time."""
        earliest, latest = self._bounds
        number = int(text) if text.isdecimal() and len(text) < 25 else float(text)
        for per_second in (1, 10**3, 10**6, 10**9):
            if earliest <= number * 10**6 / per_second <= latest:
                whole_seconds, rest = divmod(number, per_second)
                return int(whole_seconds) * 10**6 + round(rest * 10**6 / per_second)
        return None


def _datetime(text: str) -> datetime:
    """Return a time that is in the form of ISO 8601, or nearly. Raises ValueError."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(_as_iso(text))


def _as_iso(text: str) -> str:
    """Return a time with the year first in the form of ISO 8601."""
    for zone in (" UTC", " GMT", "UTC", "GMT"):
        text = text.removesuffix(zone)
    found = _DATE.fullmatch(text)
    if found is None:
        return text
    year, month, day, rest = found.groups()
    return f"{year}-{int(month):02}-{int(day):02}{rest.rstrip()}"
