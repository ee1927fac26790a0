"""The pointer stays small however often a training promotes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from chalicelib.domain.training import RECENT_CHAMPIONS, Champion
from chalicelib.services.versions import successor


def at(days: float, minutes: float = 0) -> str:
    return (datetime.now(UTC) - timedelta(days=days, minutes=minutes)).isoformat()


def champion(past: list[tuple[str, str]]) -> Champion:
    return Champion("now", None, at(0), None, past=tuple(past))


def test_thousands_of_champions_are_remembered_by_day() -> None:
    """Ten days with a promotion every five minutes, and two that are too old."""
    past = [(f"v{n}", at(0, 5 * n)) for n in range(2880)] + [("old", at(31)), ("older", at(32))]
    new = successor(champion(past), "next", "r")
    assert (new.version, new.previous) == ("next", "now")
    names = [name for name, _ in new.past]
    assert names[:RECENT_CHAMPIONS] == ["now", *(f"v{n}" for n in range(RECENT_CHAMPIONS - 1))]
    days = [end[:10] for _, end in new.past[RECENT_CHAMPIONS:]]
    assert len(days) == len(set(days)) >= 9
    newest = {end[:10]: end for _, end in reversed(past)}
    assert [end for _, end in new.past[RECENT_CHAMPIONS + 1 :]] == [newest[day] for day in days[1:]]
    assert "old" not in names
    assert len(msgspec.json.encode(new)) < 20_000


def test_doing_it_again_and_again_keeps_one_of_each_day() -> None:
    found = champion([(f"v{n}", at(n)) for n in range(29)])
    for n in range(2 * RECENT_CHAMPIONS):
        found = successor(found, f"w{n}", "r")
    days = {end[:10] for _, end in found.past}
    assert len(days) >= 28
    assert len(found.past) <= RECENT_CHAMPIONS + 31


def test_a_period_has_a_beginning_while_all_champions_are_known() -> None:
    past = [(f"v{n}", at(n)) for n in range(1, RECENT_CHAMPIONS + 5)]
    periods = champion(past).periods()
    assert periods["v1"] == (past[1][1], past[0][1])
    assert periods[f"v{RECENT_CHAMPIONS + 2}"][0] is None
    assert champion(past[:1]).periods()["v1"] == (None, past[0][1])
