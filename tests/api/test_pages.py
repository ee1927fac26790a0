"""The pages and their assets, as they are sent."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from chalicelib.api import pages
from tests.support.api import Api, World

PATHS = [
    "/login",
    "/dashboard",
    "/dashboard/practice",
    "/dashboard/tasks",
    "/dashboard/analytics",
    "/dashboard/models",
    "/dashboard/account",
    "/docs",
]
STAGE = "https://abc.execute-api.eu-central-1.amazonaws.com/prod"


class Document(HTMLParser):
    """What a page links to, and what a Content-Security-Policy without unsafe-inline would refuse."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.inline: list[str] = []
        self.ids: list[str] = []
        self.labelled: list[str] = []
        self.inputs: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value for name, value in attrs if name in ("href", "src", "action") and value]
        self.inline += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        self.inline += ["style"] if tag == "style" else []
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "label" and given.get("for"):
            self.labelled.append(str(given["for"]))
        if tag in ("input", "textarea") and given.get("type") != "radio":
            self.inputs.append(str(given.get("id")))
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append("script")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_html_that_may_not_be_framed_or_run_inline_scripts(anyone: Api, path: str) -> None:
    answer = anyone.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert Document(answer.body).inline == []


@pytest.mark.parametrize("path", PATHS)
def test_every_link_of_a_page_leads_below_the_stage_to_something_that_is_there(anyone: Api, path: str) -> None:
    links = [link for link in Document(anyone.get(path).body).links if not link.startswith("#")]
    assert links
    for link in links:
        target = urljoin(f"{STAGE}{path}", link)
        assert target.startswith(f"{STAGE}/"), link
        assert anyone.get(urlsplit(target).path.removeprefix("/prod")).status == 200, link


@pytest.mark.parametrize("path", PATHS)
def test_every_field_of_a_page_has_a_label_and_every_id_is_unique(anyone: Api, path: str) -> None:
    document = Document(anyone.get(path).body)
    assert sorted(document.ids) == sorted(set(document.ids))
    assert set(document.inputs) <= set(document.labelled)


@pytest.mark.parametrize("path", PATHS)
def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(anyone: Api, path: str) -> None:
    answer = anyone.get(f"{path}/")
    assert answer.status == 302
    assert urljoin(f"{STAGE}{path}/", answer.headers["location"]) == f"{STAGE}{path}"


def test_assets_have_their_type_and_may_be_kept_for_ever_under_their_version(anyone: Api) -> None:
    for name in pages.assets():
        answer = anyone.get(f"/static/{pages.version()}/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"] == pages.CONTENT_TYPES[name[name.rindex(".") :]]
        assert answer.headers["cache-control"] == pages.IMMUTABLE
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_asset_of_an_older_version_is_the_present_one_and_not_kept(anyone: Api) -> None:
    answer = anyone.get("/static/older/style.css")
    assert (answer.status, answer.body) == (200, pages.assets()["style.css"])
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["layout.html", "..%2F..%2Fconfig.py", "vendor", "none.js", "%00"])
def test_nothing_but_assets_can_be_asked_for(anyone: Api, name: str) -> None:
    answer = anyone.get(f"/static/{pages.version()}/{name}")
    assert (answer.status, answer.json) == (404, {"detail": "Not Found"})


def test_pages_answer_when_the_database_does_not(anyone: Api, world: World) -> None:
    world.database.available = False
    assert anyone.get("/dashboard/tasks").status == 200


def own_assets() -> dict[str, str]:
    """Without what others made: tests in a browser assert that it runs under the policy and asks no other host."""
    vendored = {path.rpartition("/")[2] for path in pages.VENDORED}
    return {name: text for name, text in pages.assets().items() if name not in vendored}


def test_what_others_made_lies_beside_its_licence() -> None:
    for path in pages.VENDORED:
        assert (pages.WEB / "vendor" / path).with_name("LICENSE").is_file(), path


def test_only_the_documentation_shows_pictures_inside_style_sheets(anyone: Api) -> None:
    allowing = {path for path in PATHS if "data:" in anyone.get(path).headers["content-security-policy"]}
    assert allowing == {"/docs"}


def test_scripts_put_no_data_into_the_page_as_html() -> None:
    for name, text in own_assets().items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name


def test_scripts_and_styles_name_no_other_host() -> None:
    allowed = {"http://www.w3.org/2000/svg"}
    for name, text in own_assets().items():
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= allowed, name
