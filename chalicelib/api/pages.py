"""The pages and their style sheets and scripts, served from the files in ``chalicelib/web``.

There is no build step. Each page is assembled once per process, as described in :data:`PAGES`. All links are relative,
so they also work below an API Gateway stage prefix.

Assets are served from ``static/<version>/``. The version is a digest of all assets, so browsers may cache them for
ever. A page never mixes scripts of two deployments, because a deployment changes the address of every asset.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from pathlib import Path
from string import Template

import msgspec
from chalice.app import Request, Response

from chalicelib.api.routing import Access, Routes
from chalicelib.domain.errors import NotFoundError

routes = Routes(__name__, "pages")

WEB = Path(__file__).resolve().parent.parent / "web"

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "text/plain; charset=us-ascii",
}
"""Content types of assets by suffix. All are text, so API Gateway needs no binary types; fonts are sent as Base64."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
    "katex/katex.min.js",
    "katex/katex.min.css",
    *(f"katex/{path.name}" for path in sorted((WEB / "vendor" / "katex").glob("*.woff2"))),
)
"""Third-party assets below ``vendor``, next to their licences."""

_IMPORT = re.compile(r'\bfrom "\./([\w.-]+\.js)";$', re.MULTILINE)
"""A static import of another module, in the form that all modules here use."""

IMMUTABLE = "public, max-age=31536000, immutable"


class Page(msgspec.Struct, frozen=True):
    """A page with the path where it is served.

    Its content is ``<name>.html`` and its module ``<name>.js``, where the name is the last part of the path. Pages that
    are ``signed_in`` show the navigation. ``styles`` are loaded after the common style sheet. ``scripts`` are classic
    scripts that run before the module. ``data_images`` allows images inside style sheets.
    """

    path: str
    title: str
    signed_in: bool = True
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    data_images: bool = False

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def root(self) -> str:
        """Return the relative address of the root."""
        return "../" * self.path.count("/") or "./"


_CHART_STYLES = ("uPlot.min.css", "charts.css")
_CHART_SCRIPTS = ("uPlot.iife.min.js",)

PAGES = {
    page.name: page
    for page in (
        Page("login", "Sign in", signed_in=False),
        Page("dashboard", "Overview"),
        Page("dashboard/practice", "Practise"),
        Page("dashboard/tasks", "Tasks"),
        Page("dashboard/analytics", "Analytics", styles=_CHART_STYLES, scripts=_CHART_SCRIPTS),
        Page("dashboard/models", "Models", styles=_CHART_STYLES, scripts=_CHART_SCRIPTS),
        Page("dashboard/account", "Account"),
        Page(
            "docs",
            "API reference",
            styles=("swagger-ui.css", "docs.css"),
            scripts=("swagger-ui-bundle.js",),
            data_images=True,
        ),
    )
}


PARTS = ("training_panel", "training_panel_admin", "task_form")
"""Parts of pages: each replaces its name in the HTML of a page."""


@cache
def assets() -> dict[str, str]:
    """Return the text of every asset by file name. No other file can be requested."""
    own = [path for path in sorted(WEB.iterdir()) if path.suffix in CONTENT_TYPES]
    vendored = [WEB / "vendor" / path for path in VENDORED]
    return {path.name: _text(path) for path in own + vendored}


def _text(path: Path) -> str:
    return b64encode(path.read_bytes()).decode() if path.suffix == ".woff2" else path.read_text("utf-8")


@cache
def version() -> str:
    """Return a short digest of all assets."""
    digest = hashlib.sha256()
    for name, text in assets().items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:12]


def imported_modules(script: str) -> list[str]:
    """Return all modules that a script imports, directly or indirectly.

    The page preloads them, so that the browser fetches them in parallel.
    """
    found: dict[str, None] = {}
    waiting = [script]
    while waiting:
        imported = _IMPORT.findall(assets()[waiting.pop()])
        waiting += [name for name in imported if name not in found]
        found |= dict.fromkeys(imported)
    return sorted(found)


MISSING = Page("missing", "Page not found", signed_in=False)
"""What a browser gets for an address that nothing is at."""


@cache
def html(name: str) -> str:
    """Return the HTML document of a page."""
    return _document(PAGES[name], PAGES[name].root)


def missing(path: str) -> Response:
    """Return the page for a browser that asks for an unknown ``path``."""
    root = "../" * (path.count("/") - 1) or "./"
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", **SECURITY_HEADERS}
    return Response(_document(MISSING, root), headers, 404)


def _document(page: Page, root: str) -> str:
    values = {
        "root": root,
        "assets": f"{root}static/{version()}/",
        "title": page.title,
        "script": f"{page.name}.js",
    }
    # Deferred scripts and modules run in document order, so classic scripts run before the page's module.
    values["preloads"] = "\n".join(
        [
            *(f'<link rel="stylesheet" href="{values["assets"]}{style}">' for style in page.styles),
            *(f'<script defer src="{values["assets"]}{script}"></script>' for script in page.scripts),
            *(
                f'<link rel="modulepreload" href="{values["assets"]}{script}">'
                for script in imported_modules(values["script"])
            ),
        ]
    )
    values |= {f"on_{other}": ' aria-current="page"' if other == page.name else "" for other in PAGES}
    for part in PARTS:
        values[part] = _part(part, values)
    values["header"] = _part("header" if page.signed_in else "header_public", values)
    values["main"] = _part(page.name, values)
    return _part("layout", values)


def _part(name: str, values: dict[str, str]) -> str:
    return Template((WEB / f"{name}.html").read_text("utf-8")).substitute(values).strip()


def _respond(page: Page, request: Request) -> Response:
    """Return a page, or a redirect if the path ends with a slash."""
    path = str((request.context or {}).get("path", ""))
    if path.endswith("/"):
        # Relative links only work from the address without the trailing slash.
        return Response("", {"Location": f"../{page.name}", "Content-Type": "text/plain"}, 302)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", **SECURITY_HEADERS}
    if page.data_images:
        policy = headers["Content-Security-Policy"]
        headers["Content-Security-Policy"] = policy.replace("img-src 'self'", "img-src 'self' data:")
    return Response(html(page.name), headers, 200)


def _route(page: Page) -> None:
    def view(request: Request) -> Response:
        return _respond(page, request)

    view.__name__ = page.name
    routes.route("GET", f"/{page.path}", page.title, access=Access.PUBLIC, documented=False)(view)


for _page in PAGES.values():
    _route(_page)


ROOT_FILES = {
    "sw.js": "text/javascript; charset=utf-8",
    "manifest.webmanifest": "application/manifest+json; charset=utf-8",
}
"""Content types of the files that must lie at the root: a service worker serves what is below its own address."""


@cache
def root_file(name: str) -> str:
    """Return the text of a file at the root, with the present version and the addresses of the shell."""
    shell = re.findall(r'(?:href|src)="\.\./(static/[^"]+)"', html("practice"))
    own = [page.path for page in PAGES.values() if page.signed_in and page.name != "docs"]
    values = {
        "version": version(),
        "shell": msgspec.json.encode(["dashboard/practice", *dict.fromkeys(shell)]).decode(),
        "pages": msgspec.json.encode(own).decode(),
    }
    return Template((WEB / "root" / name).read_text("utf-8")).substitute(values)


def _root_route(name: str) -> None:
    def view() -> Response:
        return Response(root_file(name), {"Content-Type": ROOT_FILES[name], "Cache-Control": "no-cache"}, 200)

    view.__name__ = name.replace(".", "_")
    routes.route("GET", f"/{name}", name, access=Access.PUBLIC, documented=False)(view)


for _name in ROOT_FILES:
    _root_route(_name)


@routes.route("GET", "/static/{asset_version}/{name}", "Return an asset", access=Access.PUBLIC, documented=False)
def asset(asset_version: str, name: str) -> Response:
    """Return an asset. The address of another version returns the current asset, which must not be cached."""
    text = assets().get(name)
    if text is None:
        raise NotFoundError("Not Found")
    headers = {
        "Content-Type": CONTENT_TYPES[Path(name).suffix],
        "Cache-Control": IMMUTABLE if asset_version == version() else "no-cache",
    }
    return Response(text, headers, 200)
