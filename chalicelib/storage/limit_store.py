"""The counts of limits in PostgreSQL: one row for each limit and account or address, in windows of fixed length."""

from __future__ import annotations

from sqlalchemy import Engine, text

from chalicelib.domain.limits import Limit
from chalicelib.storage.database import statement

_LIVE = "c.began > now() - make_interval(secs => CAST(:seconds AS double precision))"

_ADD = text(
    f"""
    INSERT INTO limit_counts AS c (name, who, began, n) VALUES (:name, :who, now(), :n)
    ON CONFLICT (name, who) DO UPDATE SET
        n = CASE WHEN {_LIVE} THEN c.n + excluded.n ELSE excluded.n END,
        began = CASE WHEN {_LIVE} THEN c.began ELSE excluded.began END
    RETURNING n, CAST(extract(epoch FROM began - now()) AS double precision)
    """  # noqa: S608 - parts are constants, values are bound
)

_READ = text(
    f"""
    SELECT n, CAST(extract(epoch FROM began - now()) AS double precision) FROM limit_counts c
    WHERE name = :name AND who = :who AND {_LIVE}
    """  # noqa: S608 - parts are constants, values are bound
)

_PRUNE = text("DELETE FROM limit_counts WHERE began < now() - interval '1 day'")


class PostgresLimitCounts:
    """Implements :class:`chalicelib.ports.LimitCounts`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, limit: Limit, who: str, n: int) -> tuple[int, float]:
        """Add to a count, and return it with the seconds until it begins again."""
        values = {"name": limit.setting, "who": who, "n": n, "seconds": limit.seconds}
        count, began = statement(self._engine, lambda c: c.execute(_ADD, values).one())
        return count, limit.seconds + began

    def read(self, limit: Limit, who: str) -> tuple[int, float]:
        """Return a count with the seconds until it begins again."""
        values = {"name": limit.setting, "who": who, "seconds": limit.seconds}
        row = statement(self._engine, lambda c: c.execute(_READ, values).one_or_none())
        return (0, 0.0) if row is None else (row[0], limit.seconds + row[1])

    def prune(self) -> None:
        """Delete the counts of windows that are long over."""
        statement(self._engine, lambda c: c.execute(_PRUNE))
