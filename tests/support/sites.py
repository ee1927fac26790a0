"""Stacks to back up and to restore: their adapters, with methods to use and to compare them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chalicelib.config import settings_from
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.services import versions
from chalicelib.services.predictions import predict_for
from chalicelib.wiring import Container, build
from infra.local import postgres
from infra.local.aws import resources
from ops.backup.store import TABLES, columns_of
from ops.doctor.checks import Doctor
from ops.registry_files import registry_files
from tests.support.archives import version_files
from tests.support.servers import TEMPLATE_DATABASE

V1, V2, V3 = "20260101T000000Z-00000001", "20260102T000000Z-00000002", "20260103T000000Z-00000003"
ODD = 'a "quoted", \\back\\slashed\n\\.\n\tname\r\u2028 ünïcödé \U0001f600 \\N'


class Site:
    """The adapters of a stack, with methods to use it and to compare it with another."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.container: Container = build(settings_from(environment))
        self.files = registry_files(self.container)

    def practise(self, user: str, n: int, topic: str = "topic 0") -> list[str]:
        ids = []
        for i in range(n):
            task = self.container.tasks.insert(user, NewTask("Math", topic, Difficulty.HARD, ODD), DEFAULT_PREDICTION)
            result = Result(i % 3 != 0, 7.3 * (i % 4))
            self.container.tasks.complete(user, task.id, result, None, self.container.policy)
            ids.append(task.id)
        return ids

    def publish(self, version: str, weight: float = 0.1) -> None:
        """What a training does at its end, the tracker last."""
        files = version_files(version=version, weight=weight)
        del files["metadata.json"]
        registry = self.container.registry
        registry.write_version("default", version, files, {"request_id": str(uuid.uuid4())})
        before, etag = registry.read_champion("default") or (None, None)
        registry.write_champion("default", versions.successor(before, version, None), etag)
        self.container.tracker.set_model_version("default", version)

    def in_use(self) -> None:
        """Fill the stack with all kinds of things."""
        store = self.container.tasks
        self.container.users.add("ada", "ada@example.com", ODD)
        self.container.users.add("gone", "gone@example.com", None)
        ids = self.practise("ada", 12) + self.practise("ada", 5, "topic 1") + self.practise("Ωmega", 3, ODD[:190])
        store.complete("ada", ids[3], Result(False, 1e-3), uuid.uuid4(), self.container.policy)
        store.delete("ada", ids[5])
        store.insert("bob", NewTask("Math", "t", Difficulty.EASY, "", "", None, 0.1), DEFAULT_PREDICTION)
        self.practise("gone", 2)
        self.container.users.erase("gone")
        for version, weight in ((V1, 0.1), (V2, 0.3)):
            self.publish(version, weight)
        self.container.tracker.set_counter("default", 3)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        found = {}
        with self.container.engine.connect() as connection:
            for table in TABLES:
                rows = connection.exec_driver_sql(
                    f"SELECT {', '.join(columns_of(table))} FROM {table} ORDER BY 1, 2, 3"
                )
                found[table] = [tuple(row) for row in rows]
        return found

    def objects(self) -> dict[str, bytes]:
        return {each.key: self.files.read(each.key) for each in self.files.objects()}

    def predictions(self) -> list[object]:
        """What a process that starts now predicts for everybody."""
        api = build(settings_from(self.environment))
        found = [
            predict_for(api.tasks, api.champion, user, "Math", topic, difficulty)
            for user in ("ada", "bob", "Ωmega", "nobody")
            for topic in ("topic 0", "topic 1", "elsewhere")
            for difficulty in Difficulty
        ]
        api.engine.dispose()
        return [(each.correct, each.seconds, each.source, each.model_version) for each in found]

    def codes(self) -> list[str]:
        return [finding.kind.code for finding in Doctor(self.container, 0.0).examine().findings]


@contextmanager
def another(server: postgres.Postgres, endpoint: str) -> Iterator[Site]:
    """An empty stack with a database and a bucket of its own."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(server, name, TEMPLATE_DATABASE)
    outputs = resources.create_stack(endpoint, f"test-{uuid.uuid4().hex[:12]}", {})
    own = {**resources.client_environment(endpoint), **resources.program_environment(endpoint, outputs)}
    site = Site({**own, "DATABASE_URL": server.url(name), "TRAINING_THRESHOLD": "1000"})
    yield site
    site.container.engine.dispose()
    postgres.drop_database(server, name)
