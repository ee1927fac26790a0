"""Pages of the site that are files at the top level of the repository, with links that lead to the site's pages."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, page in PAGES.items():
        text = re.sub(r"\]\(([^)#]+)", _link, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def _link(found: re.Match[str]) -> str:
    """Return a link of a file at the top level as a link of a page."""
    target = found[1].removeprefix("docs/")
    return f"]({PAGES.get(target, target)}"
