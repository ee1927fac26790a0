"""xAPI statements over HTTP: in as answers, back as statements, and refused with the reason."""

from __future__ import annotations

import copy
import json
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from chalicelib.api.statements import ANSWERED, HOME_PAGE
from chalicelib.domain.service_accounts import Scope
from tests.support.api import DONE, TASK, Answer, Api, World
from tests.support.fakes.database import MemoryServiceStore

PATH = "/xapi/statements"
V = {"X-Experience-API-Version": "1.0.3"}
STATEMENT: dict[str, Any] = {
    "id": "12345678-1234-4678-9234-567812345678",
    "actor": {"objectType": "Agent", "account": {"homePage": "https://app.example.org", "name": "pupil-1"}},
    "verb": {"id": ANSWERED, "display": {"en": "answered"}},
    "object": {"objectType": "Activity", "id": "https://app.example.org/exercises/17", "definition": {"type": "x"}},
    "result": {"success": True, "duration": "PT1M2.5S", "score": {"scaled": 1}, "response": "5/6"},
    "context": {
        "registration": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "contextActivities": {
            "grouping": [{"id": "https://app.example.org/maths", "definition": {"name": {"en": "Mathematics"}}}],
            "parent": [{"id": "https://app.example.org/fractions", "definition": {"name": {"en": "Fractions"}}}],
        },
        "extensions": {"urn:studysmart:difficulty": "hard"},
    },
    "timestamp": "2026-03-02T09:01:00+01:00",
    "version": "1.0.0",
}


@pytest.fixture
def store(world: World) -> MemoryServiceStore:
    return MemoryServiceStore(world.database)


@pytest.fixture
def server(store: MemoryServiceStore) -> Api:
    return Api(store.create("school", *Scope))


def changed(path: str, value: Any = ..., **more: Any) -> dict[str, Any]:
    """The statement with another value at a path, or without it."""
    found = copy.deepcopy(STATEMENT) | more
    *outer, last = path.split("/")
    inner: Any = found
    for name in outer:
        inner = inner[int(name) if isinstance(inner, list) else name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return found


def numbered(n: int, name: str = "pupil-1") -> dict[str, Any]:
    minute = f"2026-03-02T09:{n:02d}:00Z"
    return changed("actor/account/name", name, id=str(uuid.UUID(int=n, version=4)), timestamp=minute)


def post(server: Api, body: Any, **headers: str) -> Answer:
    return server.call("POST", PATH, body, headers={**V, **headers})


def get(server: Api, name: str = "pupil-1", **query: Any) -> Answer:
    agent = json.dumps({"account": {"homePage": HOME_PAGE, "name": name}})
    return server.call("GET", f"{PATH}?{urlencode({'agent': agent, **query})}", headers=V)


def test_a_statement_becomes_an_answer(server: Api) -> None:
    answer = post(server, STATEMENT)
    assert (answer.status, answer.json) == (200, [STATEMENT["id"]]), answer.body
    assert answer.headers["x-experience-api-version"] == "1.0.3"
    task = server.call("GET", f"/practice-tasks/{STATEMENT['id']}", headers={"X-Learner-Id": "pupil-1"}).json
    shown = {
        "subject": "Mathematics",
        "topic": "Fractions",
        "difficulty": "hard",
        "item_id": "https://app.example.org/exercises/17",
        "is_correct": True,
        "actual_time_seconds": 62.5,
        "study_session_id": STATEMENT["context"]["registration"],
    }
    assert {name: task[name] for name in shown} == shown
    assert datetime.fromisoformat(task["completed_at"]) == datetime(2026, 3, 2, 8, 1, tzinfo=UTC)


def test_a_statement_is_counted_once(server: Api, student: Api) -> None:
    for _ in range(2):
        assert post(server, [STATEMENT, numbered(1)]).status == 200
    assert post(server, STATEMENT).json == [STATEMENT["id"]]
    assert student.get("/model/status").json["counter"] == 2
    assert len(get(server).json["statements"]) == 2


def test_a_statement_that_is_read_can_be_sent_again(server: Api) -> None:
    task = server.call("POST", "/practice-tasks", {**TASK, "item_id": "ex 7"}, headers={"X-Learner-Id": "pupil-1"}).json
    server.call("PATCH", f"/practice-tasks/{task['id']}", DONE, headers={"X-Learner-Id": "pupil-1"})
    assert post(server, STATEMENT).status == 200
    for shown in get(server).json["statements"]:
        assert shown["actor"]["account"]["homePage"] == HOME_PAGE
        again = {**shown, "id": str(uuid.uuid4())}
        assert post(server, again).status == 200
        (found,) = [one for one in get(server).json["statements"] if one["id"] == again["id"]]
        assert found == again
    assert {one["object"]["id"] for one in get(server).json["statements"]} == {
        "urn:studysmart:item:ex%207",
        STATEMENT["object"]["id"],
    }


def test_subject_and_topic_may_be_extensions(server: Api) -> None:
    extensions = {"urn:studysmart:subject": "Biology", "urn:studysmart:topic": "Cells"}
    sent = changed("context", {"extensions": extensions})
    assert post(server, sent).status == 200
    (shown,) = get(server).json["statements"]
    assert shown["context"] == {"extensions": extensions | {"urn:studysmart:difficulty": "medium"}}


@pytest.mark.parametrize("ascending", ["true", "false"])
def test_pages_have_every_statement_once_in_order(server: Api, ascending: str) -> None:
    assert post(server, [numbered(n) for n in range(7)]).status == 200
    found, page = [], get(server, limit=3, ascending=ascending).json
    while page["more"]:
        assert len(page["statements"]) == 3
        found += page["statements"]
        page = server.call("GET", page["more"], headers=V).json
    found += page["statements"]
    expected = [numbered(n)["id"] for n in range(7)]
    assert [one["id"] for one in found] == (expected if ascending == "true" else expected[::-1])


def test_since_and_until_compare_the_times_of_answers(server: Api) -> None:
    post(server, [numbered(n) for n in range(7)])
    span = {"since": "2026-03-02T09:02:00Z", "until": "2026-03-02T09:05:00Z"}
    assert [one["id"] for one in get(server, ascending="true", **span).json["statements"]] == [
        numbered(n)["id"] for n in (3, 4, 5)
    ]
    page = get(server, limit=2, **span).json
    assert len(server.call("GET", page["more"], headers=V).json["statements"]) == 1


def test_learners_and_services_are_isolated(server: Api, store: MemoryServiceStore) -> None:
    post(server, STATEMENT)
    other = Api(store.create("club", *Scope))
    assert get(other).json["statements"] == get(server, "pupil-2").json["statements"] == []
    for answer in (post(other, STATEMENT), post(server, changed("actor/account/name", "pupil-2"))):
        assert (answer.status, STATEMENT["id"] in answer.json["detail"]) == (409, True)
    assert get(other).json["statements"] == []


def test_the_record_names_the_learner_whose_statements_were_read(server: Api, world: World) -> None:
    post(server, STATEMENT)
    get(server)
    sent, read = world.database.service_actions
    task = world.database.tasks[STATEMENT["id"]]
    assert (sent.operation, sent.user_id, sent.status) == (f"POST {PATH}", None, 200)
    assert (read.operation, read.user_id, read.status) == (f"GET {PATH}", task.user_id, 200)


def test_only_service_accounts_with_the_scope_may(student: Api, admin: Api, store: MemoryServiceStore) -> None:
    reader, writer = (Api(store.create(scope.value, scope)) for scope in (Scope.LEARNERS_READ, Scope.ANSWERS))
    for api in (student, admin, reader):
        assert post(api, STATEMENT).status == 403
    for api in (student, admin, writer):
        assert get(api).status == 403
    assert (post(writer, STATEMENT).status, get(reader).status) == (200, 200)


PARENT = "context/contextActivities/parent"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("id", ..., "statement: Object missing required field `id`"),
        ("id", "4711", "id: Invalid UUID, got '4711'"),
        ("verb/id", "http://adlnet.gov/expapi/verbs/voided", "verb.id: only http"),
        ("actor", {"mbox": "mailto:a@example.org"}, "actor: Object contains unknown field `mbox`, got {'mbox'"),
        ("actor/account/name", "two words", "actor.account.name: must be 1 to 128 visible ASCII characters"),
        ("actor/objectType", "Group", "actor.objectType: Invalid enum value 'Group', got 'Group'"),
        ("object/objectType", "SubStatement", "object.objectType: Invalid enum value"),
        ("object/id", "x" * 201, "object.id: must have a visible character, no NUL, and at most 200 characters"),
        ("result/success", ..., "result: Object missing required field `success`"),
        ("result/success", "yes", "result.success: Expected `bool`, got `str`, got 'yes'"),
        ("result/duration", "P1M", "result.duration: must be a duration such as PT42.5S"),
        ("result/duration", "PT25H", "result.duration: must be 0, or 0.001 to 86400 seconds, got 'PT25H'"),
        ("result/extensions", {}, "result: Object contains unknown field `extensions`"),
        ("attachments", [], "statement: Object contains unknown field `attachments`"),
        ("context/instructor", {}, "context: Object contains unknown field `instructor`"),
        ("context/extensions/urn:x", 1, "context.extensions: Object contains unknown field `urn:x`"),
        ("context/extensions/urn:studysmart:difficulty", "odd", "must be one of easy, medium, hard, expert, got 'odd'"),
        ("context/extensions/urn:studysmart:topic", "Sums", "parent[0].definition.name: is not 'Sums', which context."),
        (PARENT, ..., "context.extensions.urn:studysmart:topic: Field required, unless context.contextActivities.par"),
        (PARENT, [], "context.contextActivities.parent: must have one entry, the topic, and has 0"),
        (PARENT, [{"id": "x"}], "context.contextActivities.parent[0]: Object missing required field `definition`"),
        (f"{PARENT}/0/definition/name", {}, "parent[0].definition.name: must have one language, or context."),
        (f"{PARENT}/0/definition/name", {"en": " "}, "parent[0].definition.name: must have a visible character"),
        ("timestamp", "yesterday", "timestamp: Invalid RFC3339 encoded datetime, got 'yesterday'"),
        ("timestamp", "2999-01-01T00:00:00Z", "timestamp: 2999-01-01T00:00:00+00:00 is in the future"),
        ("version", "2.0.0", "version: must be 1.0 or 1.0.x, got '2.0.0'"),
    ],
)
def test_a_bad_statement_is_refused_by_name_and_value(server: Api, path: str, value: Any, reason: str) -> None:
    bad = changed(path, value)
    for body in (bad, [numbered(1), bad]):
        answer = post(server, body)
        assert answer.status == 400, answer.body
        assert reason in answer.json["detail"]
    assert answer.json["detail"].startswith("statements[1]")
    assert get(server).json["statements"] == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "statements: a request must have 1 to 1,000 statements, and has 0"),
        ([STATEMENT, STATEMENT], f"statements[1].id: {STATEMENT['id']} is the id of an earlier statement"),
        (3, "statement: Expected `object`, got `int`, got 3"),
    ],
)
def test_a_bad_body_is_refused(server: Api, body: Any, reason: str) -> None:
    answer = post(server, body)
    assert (answer.status, reason in answer.json["detail"]) == (400, True), answer.body


@pytest.mark.parametrize("version", [None, "2.0.0", "0.95"])
def test_another_version_of_xapi_is_refused(server: Api, version: str | None) -> None:
    headers = {} if version is None else {"X-Experience-API-Version": version}
    for method, body in (("POST", STATEMENT), ("GET", None)):
        path = PATH + ("" if body else "?" + urlencode({"agent": '{"account": {"homePage": "x", "name": "a"}}'}))
        answer = server.call(method, path, body, headers=headers)
        assert (answer.status, "X-Experience-API-Version" in answer.json["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"verb": ANSWERED}, "verb: Extra inputs are not permitted"),
        ({"limit": "-1"}, "limit: Input should be greater than or equal to 0"),
        ({"since": "yesterday"}, "since: Input should be a valid datetime in ISO 8601"),
        ({"agent": '{"mbox": "mailto:a@example.org"}'}, "agent: must be an agent with an account"),
        ({"agent": ""}, "agent: "),
        ({"agent": '{"account": {"homePage": "x", "name": ""}}'}, "agent.account.name: must be 1 to 128"),
    ],
)
def test_a_bad_query_is_refused_by_name(server: Api, query: dict[str, str], reason: str) -> None:
    answer = get(server, **query)
    assert (answer.status, reason in answer.json["detail"]) == (400, True), answer.body


def test_a_learner_who_was_deleted_is_not_found(server: Api) -> None:
    post(server, STATEMENT)
    server.call("POST", "/auth/delete-account", {}, headers={"X-Learner-Id": "pupil-1"})
    assert (post(server, numbered(1)).status, get(server).status) == (404, 404)


def test_an_unmeasured_time_stays_unmeasured(server: Api) -> None:
    post(server, changed("result", {"success": False, "duration": "PT0S"}))
    post(server, changed("result", {"success": False}, id=numbered(1)["id"]))
    found = {one["id"]: one["result"] for one in get(server).json["statements"]}
    assert found[STATEMENT["id"]] == {"success": False, "duration": "PT0S"}
    assert found[numbered(1)["id"]] == {"success": False}
