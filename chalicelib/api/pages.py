"""The pages, and the style sheets and scripts they use, from the files in ``chalicelib/web``.

There is no build step. A page is put together once per process from its parts; which part goes where is in
:data:`PAGES`. All links are relative to the page's own depth, so an API Gateway stage prefix does not break them.
Assets live under ``static/<version>/``, where the version is a digest of all of them: they may be cached for ever, a
deployment changes every address at once, and scripts of two versions never meet in one page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from string import Template

import msgspec
from chalice.app import Request, Response

from chalicelib.api.routing import Access, Routes, View
from chalicelib.domain.errors import NotFoundError

routes = Routes(__name__, "pages")

WEB = Path(__file__).resolve().parent.parent / "web"

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Assets by suffix. All are text: nothing here needs API Gateway's binary types."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

VENDORED = (
    "swagger-ui/swagger-ui-bundle.js",
    "swagger-ui/swagger-ui.css",
    "uplot/uPlot.iife.min.js",
    "uplot/uPlot.min.css",
)
"""Assets made by others, below ``vendor`` beside their licences: classic scripts, and their style sheets."""

_IMPORT = re.compile(r'\bfrom "\./([\w.-]+\.js)";$', re.MULTILINE)
"""A static import of a module of ours, as all of them are written."""

FOR_EVER = "public, max-age=31536000, immutable"


class Page(msgspec.Struct, frozen=True):
    """A page: its path below the root, its title, and whether it shows the navigation of signed-in students.

    Its content is ``<name>.html`` and its script ``<name>.js``, where the name is the last part of the path.
    ``styles`` come after the style sheet of all pages; ``scripts`` are classic ones that run before its own.
    ``data_images`` allows pictures inside style sheets.
    """

    path: str
    title: str
    signed_in: bool = True
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    data_images: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def root(self) -> str:
        """The way from this page back to the root, as a relative address."""
        return "../" * self.path.count("/") or "./"


_CHART_STYLES = ("uPlot.min.css", "charts.css")
_CHART_SCRIPTS = ("uPlot.iife.min.js",)

PAGES = {
    page.name: page
    for page in (
        Page("login", "Sign in", signed_in=False),
        Page("dashboard", "Overview"),
        Page("dashboard/tasks", "Tasks"),
        Page("dashboard/analytics", "Analytics", styles=_CHART_STYLES, scripts=_CHART_SCRIPTS),
        Page("dashboard/models", "Models", styles=_CHART_STYLES, scripts=_CHART_SCRIPTS),
        Page(
            "docs",
            "API reference",
            styles=("swagger-ui.css", "docs.css"),
            scripts=("swagger-ui-bundle.js",),
            data_images=True,
        ),
    )
}


@cache
def assets() -> dict[str, str]:
    """The text of every asset by its file name. What is not in here cannot be asked for."""
    own = [path for path in sorted(WEB.iterdir()) if path.suffix in CONTENT_TYPES]
    vendored = [WEB / "vendor" / path for path in VENDORED]
    return {path.name: path.read_text("utf-8") for path in own + vendored}


@cache
def version() -> str:
    """A digest of all assets, short enough for an address."""
    digest = hashlib.sha256()
    for name, text in assets().items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:12]


def scripts_behind(script: str) -> list[str]:
    """All modules that a script imports, also by others: named in the page, they are fetched at once and together."""
    found: dict[str, None] = {}
    waiting = [script]
    while waiting:
        imported = _IMPORT.findall(assets()[waiting.pop()])
        waiting += [name for name in imported if name not in found]
        found |= dict.fromkeys(imported)
    return sorted(found)


@cache
def html(name: str) -> str:
    """The finished document of a page."""
    page = PAGES[name]
    values = {
        "root": page.root,
        "assets": f"{page.root}static/{version()}/",
        "title": page.title,
        "script": f"{page.name}.js",
    }
    # Classic scripts that are deferred run in the order of the document, and so before the page's own module.
    values["preloads"] = "\n".join(
        [
            *(f'<link rel="stylesheet" href="{values["assets"]}{style}">' for style in page.styles),
            *(f'<script defer src="{values["assets"]}{script}"></script>' for script in page.scripts),
            *(
                f'<link rel="modulepreload" href="{values["assets"]}{script}">'
                for script in scripts_behind(values["script"])
            ),
        ]
    )
    values |= {f"on_{other}": ' aria-current="page"' if other == name else "" for other in PAGES}
    values["training_panel"] = _part("training_panel", values)
    values["header"] = _part("header" if page.signed_in else "header_public", values)
    values["main"] = _part(page.name, values)
    return _part("layout", values)


def _part(name: str, values: dict[str, str]) -> str:
    return Template((WEB / f"{name}.html").read_text("utf-8")).substitute(values).strip()


def _answer(name: str, request: Request) -> Response:
    path = str((request.context or {}).get("path", ""))
    if path.endswith("/"):
        # The links are relative to the address without the slash, so the browser must be there.
        return Response("", {"Location": f"../{name}", "Content-Type": "text/plain"}, 302)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", **SECURITY_HEADERS}
    if PAGES[name].data_images:
        policy = headers["Content-Security-Policy"]
        headers["Content-Security-Policy"] = policy.replace("img-src 'self'", "img-src 'self' data:")
    return Response(html(name), headers, 200)


def _page(path: str, summary: str) -> Callable[[View], View]:
    return routes.route("GET", path, summary, access=Access.PUBLIC, documented=False)


@_page("/login", "Register and sign in")
def login(request: Request) -> Response:
    """The page to register and sign in."""
    return _answer("login", request)


@_page("/dashboard", "Overview")
def dashboard(request: Request) -> Response:
    """The overview of a student."""
    return _answer("dashboard", request)


@_page("/dashboard/tasks", "Create, complete and list tasks")
def tasks(request: Request) -> Response:
    """The page of a student's tasks."""
    return _answer("tasks", request)


@_page("/dashboard/analytics", "Accuracy and times")
def analytics(request: Request) -> Response:
    """The page of a student's accuracy and times."""
    return _answer("analytics", request)


@_page("/dashboard/models", "Versions, training and drift, for admins")
def models(request: Request) -> Response:
    """The page of the model, for admins."""
    return _answer("models", request)


@_page("/docs", "Swagger UI")
def docs(request: Request) -> Response:
    """The reference of the API, to be tried out."""
    return _answer("docs", request)


@_page("/static/{asset_version}/{name}", "A style sheet, script or picture of the pages")
def asset(asset_version: str, name: str) -> Response:
    """One asset. Under another version's address it is the present one too, and not to be kept."""
    text = assets().get(name)
    if text is None:
        raise NotFoundError("Not Found")
    headers = {
        "Content-Type": CONTENT_TYPES[Path(name).suffix],
        "Cache-Control": FOR_EVER if asset_version == version() else "no-cache",
    }
    return Response(text, headers, 200)
