"""The operations as a list in HTML: what the page of the API shows until Swagger UI is there, and without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from chalicelib.api.routing import Access, Operation

_CALLERS = {Access.PUBLIC: "no token needed", Access.STUDENT: "", Access.ADMIN: "admins only"}


def html(operations: Iterable[Operation]) -> str:
    """A heading for each tag and a row for each operation that is documented, in the order of the OpenAPI document.

    Rows are links as Swagger UI writes them: followed before it has started, they unfold the operation once it has.
    """
    by_path: dict[tuple[str, str], list[Operation]] = {}
    for operation in operations:
        if operation.documented:
            by_path.setdefault((operation.tag, operation.path), []).append(operation)
    rows: dict[str, list[str]] = {}
    for (tag, _), group in by_path.items():
        rows.setdefault(tag, []).extend(map(_row, group))
    return "\n".join(
        f'<h3>{escape(tag)}</h3>\n<ul class="operations">\n{"".join(of_tag)}</ul>' for tag, of_tag in rows.items()
    )


def _row(operation: Operation) -> str:
    caller = _CALLERS[operation.access]
    return (
        f'<li><a href="#/{quote(operation.tag)}/{operation.name}" data-method="{operation.method}" '
        f'data-operation="{escape(_id(operation))}"><span class="method">{operation.method}</span> '
        f"<code>{escape(operation.path)}</code> "
        f'<span class="sub">{escape(operation.summary)}{f" ({caller})" if caller else ""}</span></a></li>\n'
    )


def _id(operation: Operation) -> str:
    """The id that Swagger UI gives to an operation's element."""
    return f"operations-{operation.tag.replace(' ', '_')}-{operation.name}"
