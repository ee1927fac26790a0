"""Hooks of the documentation site: pages from files at the top level, and a check that the site is self-contained."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, page in PAGES.items():
        text = re.sub(r"\]\(([^)#]+)", _link, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


FOREIGN = re.compile(r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|srcset|href)=["']?(?:https?:)?//[^>]*>""")
"""An element for which a browser sends a request to another site. A link that a reader may click is fine."""


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Refuse a page that loads anything from another site."""
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another site: {found[0]}")
    return output


def _link(found: re.Match[str]) -> str:
    """Return a link of a file at the top level as a link of a page."""
    target = found[1].removeprefix("docs/")
    return f"]({PAGES.get(target, target)}"
