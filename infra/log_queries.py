"""The named queries over the log, from ``infra/log_queries.toml``: each has a question, and a text in two languages.

``insights`` is for CloudWatch Logs Insights; :mod:`infra.package.template` saves it there. ``sql`` is
for the log of the one-machine stack, which has the same lines. Its view ``lines`` has a column for each field of
:data:`COLUMNS`. Both give columns of the same names: one test runs the SQL on the lines of a real run, and another
compares the columns of the Insights text.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

IDS: Final = "__IDS__"
"""The place of the ids in the Insights text of a query. In its SQL they are the list ``$ids``."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A named query.

    On AWS it reads the lines of ``programs``, whose log groups the template names ``<program>LogGroup``.
    """

    name: str
    question: str
    programs: tuple[str, ...]
    insights: str
    sql: str

    @property
    def needs_ids(self) -> bool:
        """True for a query about certain ids."""
        return IDS in self.insights


_FILE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

COLUMNS: Final = {field: kind for kind, fields in _FILE["columns"].items() for field in fields.split()}
"""The fields of log lines that queries use, with DuckDB's types."""

BY_NAME: Final = {
    name: LogQuery(name, table["question"], tuple(table["programs"]), table["insights"], table["sql"])
    for name, table in _FILE["queries"].items()
}
QUERIES: Final = tuple(BY_NAME.values())


def text_of(query: LogQuery, ids: list[str]) -> str:
    """Return the Insights text with the ids in place. Raises ValueError for a malformed id."""
    if not all(one.replace("-", "").replace(" ", "").isalnum() for one in ids):
        raise ValueError("an id consists of letters, digits and hyphens")
    lines = (line.strip() for line in query.insights.strip().splitlines())
    return "\n".join(lines).replace(IDS, ", ".join(f'"{one}"' for one in ids))
