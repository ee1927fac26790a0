"""Drives every operation of the API on fakes to every status that it can answer with, and checks each answer.

The answers are compared with the OpenAPI document: status, headers, media type and body.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from chalicelib import wiring
from chalicelib.api import openapi, root
from chalicelib.api.routing import Access, Operation
from chalicelib.api.statements import XAPI_THROUGH, XAPI_VERSION
from chalicelib.domain.errors import ConflictError, DatabaseUnavailableError, PointerConflictError, TooManyRequestsError
from chalicelib.domain.issuers import GOOGLE, Issuer
from chalicelib.domain.service_accounts import Scope
from chalicelib.domain.tasks import PracticeTask
from chalicelib.storage.issuers import ForeignTokens
from chalicelib.wiring import Container
from tests.support.api import DONE, PASSWORD, TASK, Answer, Api, World, sign_up
from tests.support.archives import publish
from tests.support.fakes.database import MemoryServiceStore, MemoryTaskStore
from tests.support.fakes.services import MemoryRegistry
from tests.support.oidc import AUDIENCE, Provider

Key = tuple[str, str]
"""Path and method of an operation, as in the document."""

BEHIND_NOTHING = {"429", "503"}
"""Statuses of an operation that needs no service. API Gateway and the reverse proxy answer them before the API."""

EXAMPLE_PASSWORD = "staple battery"
"""The password of the examples. That of other tests is another, so that a generated request deletes no account."""

_TOO_LARGE = b'{"a":"' + b"a" * 1_000_000 + b'"}'


class _Failing(Container):
    """Adapters of which every one fails."""

    def __init__(self, container: Container, error: Exception) -> None:
        self.error = error
        super().__init__(container.settings)

    def __getattribute__(self, name: str) -> Any:
        if name in ("identity", "tracker", "champion", "foreign", "users", "limiter", "sessions", "tasks"):
            raise self.error
        return super().__getattribute__(name)


class _BusyRegistry(MemoryRegistry):
    def write_champion(self, *_: Any, **__: Any) -> str:
        raise PointerConflictError("moved meanwhile")


class _RacingTasks(MemoryTaskStore):
    def insert(self, *_: Any, **__: Any) -> PracticeTask:
        raise ConflictError("The task of this Idempotency-Key was deleted; use another key")


class Driver:
    """Sends requests and keeps the statuses that it saw, by operation."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.document = openapi.document(root.documented)
        self.operations = {operation.name: operation for operation in root.documented if operation.documented}
        self.seen: dict[Key, set[str]] = defaultdict(set)

    def call(
        self, name: str, api: Api, body: Any = None, *, query: str = "", path: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        """Send a request of an operation. Without a body that of the document's example is sent."""
        operation = self.operations[name]
        described = self.document["paths"][operation.path][operation.method.lower()]
        if body is None and "raw" not in more and operation.body is not None:
            body = described["requestBody"]["content"]["application/json"]["example"]
        target = re.sub(r"{(\w+)}", lambda found: (path or {})[found[1]], operation.path)
        answer = api.call(operation.method, target + query, body, **more)
        self.seen[operation.path, operation.method.lower()].add(str(answer.status))
        self._check(described, answer, f"{operation.method} {operation.path}")
        return answer

    def _check(self, described: dict[str, Any], answer: Answer, where: str) -> None:
        response = described["responses"].get(str(answer.status))
        assert response is not None, f"{where}: {answer.status} is not documented: {answer.body}"
        response = self._resolved(response)
        known = {name.lower() for name in response.get("headers", {})}
        special = {"link", "location", "retry-after", "www-authenticate", "content-disposition", "x-request-id"}
        special |= {XAPI_VERSION.lower(), XAPI_THROUGH.lower()}
        assert answer.headers.keys() & special <= known, f"{where}: {answer.status} has headers {answer.headers}"
        content = response.get("content", {})
        media_type = answer.headers["content-type"].partition(";")[0]
        if answer.status == 204:
            assert (answer.body, content) == ("", {})
        elif media_type == "application/json":
            schema = {**content[media_type]["schema"], "components": self.document["components"]}
            jsonschema.validate(answer.json, schema, format_checker=jsonschema.FormatChecker())
        else:
            assert media_type in content

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        found: Any = self.document
        for part in value.get("$ref", "#")[1:].split("/")[1:]:
            found = found[part]
        return found if "$ref" in value else value

    def missing(self) -> dict[Key, set[str]]:
        """Return the documented statuses that were not seen, by operation."""
        found = {}
        for operation in self.operations.values():
            key = operation.path, operation.method.lower()
            documented = self.document["paths"][operation.path][operation.method.lower()]["responses"].keys()
            found[key] = documented - self.seen[key] - (set() if operation.needs_services else BEHIND_NOTHING)
        return {key: statuses for key, statuses in found.items() if statuses}

    def operations_documented(self) -> float:
        """Return the share of operations that have a text and whose documented statuses were all seen.

        An answer with another status would have ended the drive.
        """
        incomplete = self.missing().keys()
        described = [
            bool(operation.get("summary") and operation.get("description")) and (path, method) not in incomplete
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
        ]
        return sum(described) / len(described)


def drive(world: World) -> Driver:
    """Send requests to every operation until each documented status was seen."""
    driver = Driver(world)
    student, other, admin = (sign_up(world, f"{name}@example.net") for name in ("student", "other", "admin"))
    world.identity.make_admin(admin.get("/auth/me").json["id"])
    _service(driver)
    _accounts(driver)
    _tasks(driver, student)
    _figures(driver, student, other, admin)
    _model(driver, student, admin)
    task = driver.call("create_task", student).json
    for operation in driver.operations.values():
        _usual_errors(driver, operation, admin, {"task_id": task["id"], "subject": "Mathematics"})
    return driver


def _service(driver: Driver) -> None:
    anyone = Api()
    assert driver.call("welcome", anyone).status == 200
    assert driver.call("openapi_document", anyone).status == 200
    assert driver.call("check_health", anyone).status == 200
    driver.world.registry.available = False
    assert driver.call("check_health", anyone).status == 503
    driver.world.registry.available = True


def _accounts(driver: Driver) -> None:
    ada, outbox = Api(), driver.world.identity.outbox
    assert driver.call("register", ada).status == 201
    assert driver.call("register", ada).status == 400
    session = driver.call("login", ada).json
    assert driver.call("login", ada, {"email": "ada@example.org", "password": "wrong"}).status == 401
    assert driver.call("refresh", ada, {"refresh_token": session["refresh_token"]}).status == 200
    assert driver.call("refresh", ada).status == 401
    provider = Provider(GOOGLE)
    container = driver.world.container()
    container.foreign = ForeignTokens(
        [Issuer(issuer=GOOGLE, audience=(AUDIENCE,))], lambda url: provider.answer(url) or {}
    )
    wiring.install(container)
    assert driver.call("google", ada, {"token": provider.token()}).status == 200
    for name in ("send_verification", "verify_email"):
        assert driver.call(name, Api(provider.token())).status == 400
    assert driver.call("google", ada, {"token": "x"}).status == 401
    wiring.install(driver.world.container())
    assert driver.call("google", ada).status == 404
    assert driver.call("forgot_password", ada).status == 200
    assert driver.call("reset_password", ada).status == 400
    reset = {"email": "ada@example.org", "code": outbox[-1][1], "new_password": EXAMPLE_PASSWORD}
    assert driver.call("reset_password", ada, reset).status == 200
    ada.token = driver.call("login", ada).json["access_token"]
    assert driver.call("send_verification", ada).status == 200
    assert driver.call("verify_email", ada).status == 400
    assert driver.call("verify_email", ada, {"code": outbox[-1][1]}).status == 200
    assert driver.call("read_profile", ada).status == 200
    assert driver.call("update_profile", ada).status == 200
    assert driver.call("change_password", ada).status == 200
    assert driver.call("sign_out_everywhere", ada).status == 200
    ada.token = driver.call("login", ada).json["access_token"]
    assert driver.call("delete_account", ada, {"password": "wrong"}).status == 400
    assert driver.call("delete_account", ada).status == 200


def _tasks(driver: Driver, student: Api) -> None:
    key = {"Idempotency-Key": "first"}
    task = driver.call("create_task", student, headers=key).json
    path = {"task_id": task["id"]}
    assert driver.call("read_task", student, path=path).status == 200
    assert driver.call("latest_of_subject", student, path={"subject": "Mathematics"}).status == 200
    driver.call("create_task", student)
    assert "link" in driver.call("list_tasks", student, query="?limit=1").headers
    assert "training" in driver.call("update_task", student, path=path).json
    assert driver.call("update_task", student, {"completed": False}, path=path).status == 409
    assert driver.call("export_answers", student).status == 200
    assert driver.call("delete_task", student, path=path).status == 204
    container = driver.world.container()
    container.tasks = _RacingTasks(driver.world.database)
    wiring.install(container)
    assert driver.call("create_task", student, headers=key).status == 409
    wiring.install(driver.world.container())


def _figures(driver: Driver, student: Api, other: Api, admin: Api) -> None:
    task = driver.call("create_task", student).json
    student.patch(f"/practice-tasks/{task['id']}", DONE)
    user = other.get("/auth/me").json["id"]
    asked = "?topic=Fractions&difficulty=medium"
    assert driver.call("predict", student, query=asked).status == 200
    assert driver.call("predict", student, query=f"{asked}&user_id={user}").status == 403
    assert driver.call("predict_batch", admin, {"predictions": [{"topic": "t", "difficulty": "easy"}]}).status == 200
    assert driver.call("predict_batch", admin).status == 404
    assert driver.call("predict_batch", student).status == 403
    own = {"answers": [{"id": "1", **TASK, "is_correct": True}]}
    assert driver.call("store_answers", admin, own).status == 200
    assert driver.call("store_answers", student).status == 403
    deleted = sign_up(driver.world, "deleted@example.net")
    batch = {"answers": [{"id": "1", **TASK, "is_correct": True, "learner_id": deleted.get("/auth/me").json["id"]}]}
    assert deleted.post("/auth/delete-account", {"password": PASSWORD}).status == 200
    assert driver.call("store_answers", admin, batch).status == 404
    _statements(driver)
    for name in ("recommend", "list_due", "summary", "topics", "items", "calibration", "latest_predicted"):
        assert driver.call(name, student).status == 200
    assert driver.call("calibration", student, query="?scope=all").status == 403
    assert driver.call("calibration_drift", admin).status == 200
    assert driver.call("calibration_groups", admin).status == 200


def _statements(driver: Driver) -> None:
    store, version = MemoryServiceStore(driver.world.database), {XAPI_VERSION: "1.0.3"}
    server, other = (Api(store.create(name, *Scope)) for name in ("statements", "others"))
    agent = '?agent={"account":{"homePage":"x","name":"pupil-4711"}}'
    assert driver.call("store_statements", server, headers=version).status == 200
    assert driver.call("store_statements", other, headers=version).status == 409
    assert driver.call("read_statements_of", server, query=agent, headers=version).status == 200
    server.call("POST", "/auth/delete-account", {}, headers={"X-Learner-Id": "pupil-4711"})
    assert driver.call("store_statements", server, headers=version).status == 404
    assert driver.call("read_statements_of", server, query=agent, headers=version).status == 404


def _model(driver: Driver, student: Api, admin: Api) -> None:
    world = driver.world
    for name in ("rollback", "pin", "unpin"):
        assert driver.call(name, admin).status == 404
    assert driver.call("model_status", student).status == 200
    assert driver.call("model_cohorts", admin).status == 200
    assert driver.call("set_counter", admin).status == 200
    assert driver.call("force_training", admin).status == 202
    assert driver.call("force_training", admin).status == 409
    for version in ("v1", "v2"):
        publish(world.registry, version)
    for name in ("rollback", "pin"):
        assert driver.call(name, admin, {"version": "v1"}).status == 200
    assert driver.call("unpin", admin).status == 200
    assert "link" in driver.call("model_versions", admin, query="?limit=1").headers
    assert driver.call("pin", admin, {"version": "v2"}).status == 200
    busy = _BusyRegistry()
    vars(busy).update(vars(world.registry))
    container = world.container()
    container.registry = busy
    wiring.install(container)
    assert driver.call("unpin", admin).status == 409
    for name in ("rollback", "pin"):
        assert driver.call(name, admin, {"version": "v1"}).status == 409
    wiring.install(world.container())


def _usual_errors(driver: Driver, operation: Operation, admin: Api, path: dict[str, str]) -> None:
    """Make the mistakes and meet the outages that are the same for all operations."""
    name, student = operation.name, sign_up(driver.world, f"{operation.name}@example.net")
    if operation.access is not Access.PUBLIC:
        assert driver.call(name, Api(), path=path).status == 401
    if operation.access is Access.ADMIN:
        assert driver.call(name, student, path=path).status == 403
    if operation.scope is not None:
        _errors_of_services(driver, operation, path)
    if operation.of_cohort:
        assert driver.call(name, admin, path=path, query="?cohort=unknown").status == 404
    if "{" in operation.path:
        assert driver.call(name, admin, path=dict.fromkeys(path, "unknown")).status == 404
    if operation.body is not None:
        assert driver.call(name, admin, path=path, raw=_TOO_LARGE).status == 413
        assert driver.call(name, admin, path=path, raw=b"{}", headers={"Content-Type": "text/plain"}).status == 415
        faulty = driver.call(name, admin, path=path, raw=b"[]").status
        assert faulty == (400 if operation.faults_as_text else 422)
    if operation.query is not None:
        names = operation.query.__struct_fields__
        assert driver.call(name, admin, path=path, query=f"?{names[0]}=%00").status == (
            400 if operation.faults_as_text else 422
        )
    if operation.needs_services:
        outages = {429: TooManyRequestsError(), 503: DatabaseUnavailableError(), 500: RuntimeError()}
        for status, error in outages.items():
            with failing(driver.world, error):
                assert driver.call(name, admin, path=path).status == status


def _errors_of_services(driver: Driver, operation: Operation, path: dict[str, str]) -> None:
    """Make the mistakes of service accounts."""
    store = MemoryServiceStore(driver.world.database)
    without, able = (Api(store.create(operation.name, *scopes)) for scopes in ((), tuple(Scope)))
    assert driver.call(operation.name, without, path=path).status == 403
    if operation.learner:
        assert driver.call(operation.name, able, path=path).status == 422
        deleted = {"X-Learner-Id": "deleted"}
        able.call("POST", "/auth/delete-account", {}, headers=deleted)
        assert driver.call(operation.name, able, path=path, headers=deleted).status == 404


@contextmanager
def failing(world: World, error: Exception) -> Iterator[None]:
    """Let every adapter of the application raise an error."""
    wiring.install(_Failing(world.container(), error))
    try:
        yield
    finally:
        wiring.install(world.container())


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def undescribed(document: dict[str, Any]) -> list[str]:
    """Return the operations, parameters and properties without a description, and the operations without a summary."""
    found = []
    for where, operation in _operations(document):
        parts = {"summary": operation.get("summary"), "description": operation.get("description")}
        parts |= {one["name"]: one.get("description") for one in operation.get("parameters", ())}
        found += [f"{where} {name}" for name, text in parts.items() if not text]
    for name, schema in document["components"]["schemas"].items():
        described = {name: schema.get("description")}
        described |= {f"{name}.{field}": one.get("description") for field, one in schema.get("properties", {}).items()}
        found += [field for field, text in described.items() if not text]
    return found


def properties_described(document: dict[str, Any]) -> float:
    """Return the share of properties of bodies and answers that have a description."""
    schemas = document["components"]["schemas"]
    found = [bool(one.get("description")) for of in schemas.values() for one in of.get("properties", {}).values()]
    return sum(found) / len(found)


def examples(document: dict[str, Any]) -> float:
    """Return the share of bodies and answers with an example that their schema allows."""
    components = document["components"]
    contents = [
        content
        for _, operation in _operations(document)
        for part in [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in part.get("content", {}).values()
    ]
    contents += [content for response in components["responses"].values() for content in response["content"].values()]
    validator = jsonschema.Draft202012Validator
    valid = [
        "example" in one and validator({**one["schema"], "components": components}).is_valid(one["example"])
        for one in contents
    ]
    return valid.count(True) / len(valid)
