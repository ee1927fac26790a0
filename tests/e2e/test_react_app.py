"""A React app of another team on an origin of its own, with the published client: from registration to the counter."""

from __future__ import annotations

import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.local_stack import temporary_stack
from infra import clients, node
from tests.support.generators import checked

APP = Path(__file__).with_name("react_app")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not node.is_installed(), reason=node.MISSING)]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def site(directory: Path) -> Iterator[str]:
    """Serve a folder on an origin of its own."""
    handler = partial(QuietHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def built(directory: Path, api: str) -> Path:
    """Install the client in a copy of the app, check its types, and bundle it with Vite."""
    clients.build(directory / "build", directory / "dist", ["typescript"])
    app = directory / "app"
    shutil.copytree(APP, app)
    modules = app / "node_modules"
    modules.mkdir()
    for package in node.MODULES.iterdir():
        (modules / package.name).symlink_to(package)
    (archive,) = (directory / "dist").glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(modules, filter="data")
    (modules / "package").rename(modules / "studysmart-client")
    checked("compiling", node.run("tsc", "--project", ".", cwd=app))
    checked("bundling", node.run("vite", "build", cwd=app, more={"VITE_STUDYSMART_URL": api}))
    return app / "dist"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def sign_up(page: Page, password: str) -> None:
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Start").click()


def test_a_student_practises_in_an_app_of_another_origin(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "public").mkdir()
    with site(tmp_path / "public") as origin:
        monkeypatch.setenv("CORS_ORIGINS", origin)
        with temporary_stack() as stack:
            shutil.copytree(built(tmp_path, stack.url), tmp_path / "public", dirs_exist_ok=True)
            page.goto(origin)
            sign_up(page, "short")
            expect(page.get_by_role("alert")).to_have_text("String should have at least 8 characters")
            sign_up(page, "correct horse")
            expect(page.get_by_text("Expected: 50 %")).to_be_visible()
            for n in range(1, 5):
                page.get_by_role("button", name="Correct").click()
                expect(page.get_by_role("status")).to_have_text(f"{n}/5")
            page.get_by_role("button", name="Correct").click()
            expect(page.get_by_role("status")).to_have_text("5/5")
