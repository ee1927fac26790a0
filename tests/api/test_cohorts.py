"""Cohorts over the API, on PostgreSQL: each has a model, a counter, analytics and admins of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, text

from chalicelib import wiring
from chalicelib.domain.accounts import COHORT_ADMIN_GROUP
from chalicelib.domain.cohorts import invitation_digest
from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.issuers import Issuer
from chalicelib.domain.tasks import Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.services import training, watch
from chalicelib.storage import completion
from chalicelib.storage.cohort_store import move
from chalicelib.storage.database import connect, statement, transaction
from chalicelib.storage.issuers import ForeignTokens
from chalicelib.wiring import KEPT_COHORTS, Container
from migrations.roles import API
from tests.support.api import DONE, PASSWORD, TASK, Answer, Api, World, sign_up
from tests.support.archives import publish
from tests.support.oidc import AUDIENCE, Provider
from tests.support.servers import login_as
from training_job.history.snapshot import read_snapshot

pytestmark = pytest.mark.slow


@dataclass
class School:
    """A deployment with the cohorts default, physics and history."""

    world: World
    container: Container
    operator: Engine

    def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.operator.begin() as connection:
            result = connection.execute(text(query), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def student(self, cohort: str, name: str = "ada") -> Api:
        api = sign_up(self.world, f"{name}@{cohort}.example.org")
        self.container.cohorts.move([self.id_of(api)], cohort)
        self.container.sessions.forget(self.id_of(api))
        return api

    def admin(self, cohort: str, group: str = "admins") -> Api:
        api = self.student(cohort, f"root-{group}")
        self.world.identity.make_admin(self.id_of(api), group)
        return api

    def id_of(self, api: Api) -> str:
        return str(api.get("/auth/me").json["id"])

    def cohort_of(self, api: Api) -> str:
        return str(self.sql("SELECT cohort FROM users WHERE id = :id", id=self.id_of(api))[0][0])

    def totals(self) -> dict[str, tuple[int, int]]:
        """The counter and the total of each cohort that has answers."""
        rows = self.container.tracker.rows()
        return {row.cohort: (row.n_samples_since_training, row.n_samples_total) for row in rows if row.n_samples_total}

    def publish(self, cohort: str, version: str) -> None:
        """Let a version serve a cohort."""
        publish(self.world.registry, version, cohort)
        self.container.tracker.set_counter(cohort, 0)
        self.container.tracker.set_model_version(cohort, version)


@pytest.fixture
def school(world: World, database_url: str) -> Iterator[School]:
    settings = replace(world.container().settings, database_url=login_as(API, database_url))
    container = Container(settings, queue=world.queue, registry=world.registry, identity=world.identity)
    wiring.install(container)
    school = School(world, container, connect(database_url, pool_size=1))
    for name in ("physics", "history"):
        school.sql("INSERT INTO cohorts (name) VALUES (:name)", name=name)
    yield school
    container.engine.dispose()
    school.operator.dispose()


def practise(api: Api, n: int = 1, **task: str) -> Answer:
    """Complete tasks, and return the answer to the last completion."""
    for _ in range(n):
        created = api.post("/practice-tasks", TASK | task).json
        done = api.patch(f"/practice-tasks/{created['id']}", DONE)
        assert done.status == 200, done.body
    return done


def test_each_cohort_counts_towards_a_training_of_its_own(school: School) -> None:
    physics, history = school.student("physics"), school.student("history")
    assert practise(physics, 4).json["training"] == {"counter": 4, "threshold": 5, "queued": False}
    assert practise(history).json["training"]["counter"] == 1
    assert practise(physics).json["training"] == {"counter": 5, "threshold": 5, "queued": True}
    assert [sent.cohort for sent in school.world.queue.messages] == ["physics"]
    assert school.totals() == {"physics": (5, 5), "history": (1, 1)}
    assert history.get("/model/status").json["counter"] == 1


def test_each_cohort_is_predicted_by_its_own_model(school: School) -> None:
    physics, history = school.student("physics"), school.student("history")
    school.publish("physics", "v-physics")
    task = TASK | {"topic": "topic 0"}
    seen = [api.post("/practice-tasks", task).json["lnirt_model_version"] for api in (physics, history)]
    assert seen == ["lnirt_v-physics", "fallback_default"]
    assert [api.get("/model/status").json["model_version"] for api in (physics, history)] == ["v-physics", None]


def test_a_process_keeps_the_models_of_the_cohorts_used_last(school: School) -> None:
    first = school.container.in_cohort("physics")
    for n in range(KEPT_COHORTS - 1):
        school.container.in_cohort(f"course-{n}")
    assert school.container.in_cohort("physics") is first
    school.container.in_cohort("one more")
    assert school.container.in_cohort("physics") is first
    assert len(school.container._others) == KEPT_COHORTS
    assert first.in_cohort("default") is school.container
    assert first.engine is school.container.engine


def test_an_invitation_leads_into_its_cohort(school: School) -> None:
    school.sql("UPDATE cohorts SET invitation = :digest WHERE name = 'physics'", digest=invitation_digest("let me in"))
    account = {"email": "eve@example.org", "password": PASSWORD, "invitation_code": "let me out"}
    refused = Api().post("/auth/register", account)
    assert (refused.status, refused.json["detail"][0]["loc"]) == (422, ["body", "invitation_code"])
    assert Api().post("/auth/register", account | {"invitation_code": " let me in "}).status == 201
    token = Api().post("/auth/login", {"email": "eve@example.org", "password": PASSWORD}).json["access_token"]
    assert school.cohort_of(Api(token)) == "physics"


def test_a_verified_address_leads_into_the_cohort_of_its_domain(school: School) -> None:
    school.sql("UPDATE cohorts SET email_domains = '{physics.example}' WHERE name = 'physics'")
    api = sign_up(school.world, "ada@Physics.example")
    practise(api, 2)
    assert school.cohort_of(api) == "default"
    code = school.world.identity.outbox[-1][1]
    assert api.post("/auth/verify-email", {"code": code}).status == 200
    assert school.cohort_of(api) == "physics"
    assert school.totals() == {"physics": (0, 2)}
    assert practise(api).json["training"]["counter"] == 1


def test_who_was_put_into_a_cohort_stays_there(school: School) -> None:
    school.sql("UPDATE cohorts SET email_domains = '{history.example.org}' WHERE name = 'physics'")
    api = school.student("history")
    code = school.world.identity.outbox[-1][1]
    assert api.post("/auth/verify-email", {"code": code}).status == 200
    assert school.cohort_of(api) == "history"


@pytest.mark.parametrize("group", ["admins", COHORT_ADMIN_GROUP])
def test_an_admin_stays_whatever_the_address(school: School, group: str) -> None:
    school.sql("UPDATE cohorts SET email_domains = '{physics.example}' WHERE name = 'physics'")
    api = sign_up(school.world, "ada@physics.example")
    school.world.identity.make_admin(school.id_of(api), group)
    code = school.world.identity.outbox[-1][1]
    assert api.post("/auth/verify-email", {"code": code}).status == 200
    assert school.cohort_of(api) == "default"


def test_a_claim_names_the_cohort(school: School) -> None:
    provider = Provider()
    issuer = Issuer(issuer=provider.issuer, audience=(AUDIENCE,), cohort_claim="course", groups_claim="groups")
    vars(school.container)["foreign"] = ForeignTokens([issuer], lambda address: provider.answer(address) or {})
    student = Api(provider.token(course="physics"))
    assert (school.cohort_of(student), practise(student).json["training"]["counter"]) == ("physics", 1)
    school.container.sessions.forget(school.id_of(student))
    moved = Api(provider.token(course="history"))
    assert school.cohort_of(moved) == "history"
    assert school.totals() == {"history": (0, 1), "physics": (1, 0)} or school.totals() == {"history": (0, 1)}
    assert school.cohort_of(Api(provider.token(sub="lost", course="no such course"))) == "default"


@pytest.mark.parametrize(
    ("course", "status"),
    [
        ("physics", 200),
        ("no such course", 403),
        (7, 403),
        (["physics"], 403),
        (None, 403),
        ("", 403),
        ("phy\0sics", 403),
    ],
)
def test_an_admin_of_one_cohort_is_one_where_the_claim_says(school: School, course: object, status: int) -> None:
    provider = Provider()
    issuer = Issuer(issuer=provider.issuer, audience=(AUDIENCE,), cohort_claim="course", groups_claim="groups")
    vars(school.container)["foreign"] = ForeignTokens([issuer], lambda address: provider.answer(address) or {})
    admin = Api(provider.token(course=course, groups=["cohort-admins"]))
    assert admin.get("/model/versions").status == status
    assert Api(provider.token(sub="root", course=course, groups=["admins"])).get("/model/versions").status == 200


def test_the_next_page_is_of_the_same_cohort(school: School) -> None:
    admin = school.admin("default")
    for n in range(3):
        school.publish("history", f"v-{n}")
    following = admin.get("/model/versions?cohort=history&limit=2").headers["link"]
    assert following == '<versions?cohort=history&limit=2&after=2>; rel="next"'
    assert len(admin.get("/model/versions?cohort=history&limit=2&after=2").json["versions"]) == 1


def test_the_counter_after_a_batch_is_that_of_the_named_cohort(school: School) -> None:
    admin = school.admin("default")
    student = school.id_of(school.student("physics"))
    answers = [{**ANSWER, "id": f"own-{n}"} for n in range(5)] + [{**ANSWER, "learner_id": student}]
    done = admin.post("/answers?cohort=physics", {"answers": answers})
    assert done.json["training"] == {"counter": 1, "threshold": 5, "queued": False}
    assert [sent.cohort for sent in school.world.queue.messages] == ["default"]


def test_a_batch_for_two_cohorts_requests_both_trainings(school: School) -> None:
    admin = school.admin("default")
    student = school.id_of(school.student("physics"))
    answers = [{**ANSWER, "id": f"own-{n}"} for n in range(5)]
    answers += [{**ANSWER, "id": f"other-{n}", "learner_id": student} for n in range(5)]
    done = admin.post("/answers?cohort=physics", {"answers": answers})
    assert done.status == 200, done.body
    assert done.json["training"] == {"counter": 5, "threshold": 5, "queued": True}
    assert {sent.cohort for sent in school.world.queue.messages} == {"default", "physics"}


def test_admins_of_a_cohort_see_only_theirs(school: School) -> None:
    admin = school.admin("physics", COHORT_ADMIN_GROUP)
    school.publish("history", "v-history")
    assert admin.get("/model/versions").json["total"] == 0
    assert admin.get("/model/versions?cohort=physics").status == 200
    listed = admin.get("/model/cohorts").json
    assert (listed["cohort"], [one["cohort"] for one in listed["cohorts"]]) == ("physics", ["physics"])
    assert admin.get("/model/versions?cohort=history").status == 403
    assert admin.post("/model/train?cohort=history").status == 403
    student = school.id_of(school.student("history", "bob"))
    refused = admin.post("/answers", {"answers": [{**ANSWER, "learner_id": student}]})
    assert (refused.status, student in refused.body) == (404, True)
    asked = {"predictions": [{"topic": "Fractions", "difficulty": "easy", "learner_id": student}]}
    refused = admin.post("/predictions:batch", asked)
    assert (refused.status, student in refused.body) == (404, True)
    assert admin.get(f"/predictions?topic=Fractions&difficulty=easy&user_id={student}").status == 404


ANSWER = {
    "id": "one",
    "subject": "Mathematics",
    "topic": "Fractions",
    "difficulty": "easy",
    "task_content": "?",
    "is_correct": True,
    "actual_time_seconds": 5,
}


def test_admins_of_all_cohorts_name_the_one_that_they_mean(school: School) -> None:
    admin = school.admin("default")
    school.publish("history", "v-history")
    assert admin.get("/model/versions").json["total"] == 0
    assert admin.get("/model/versions?cohort=history").json["total"] == 1
    assert admin.get("/model/versions?cohort=none").status == 404
    assert admin.post("/model/train?cohort=history").status == 202
    assert [sent.cohort for sent in school.world.queue.messages] == ["history"]
    listed = admin.get("/model/cohorts").json
    assert listed["cohort"] == "default"
    assert [(one["cohort"], one["model_version"]) for one in listed["cohorts"]] == [
        ("default", None), ("history", "v-history"), ("physics", None)
    ]  # fmt: skip
    assert admin.get("/model/cohorts?cohort=history").json["cohort"] == "history"
    assert school.student("physics", "bob").get("/model/status?cohort=history").json["model_version"] is None


def test_figures_over_all_students_are_those_of_a_cohort(school: School) -> None:
    school.publish("physics", "v-physics")
    practise(school.student("physics"), 3, topic="topic 0")
    practise(school.student("history"), 2, topic="topic 0")
    admin = school.admin("physics")
    assert sum(window["n"] for window in admin.get("/analytics/drift").json["windows"]) == 3
    assert admin.get("/analytics/groups").json["n"] == 3
    assert admin.get("/analytics/calibration?scope=all").json["overall"]["n"] == 3
    assert admin.get("/analytics/groups?cohort=history").json["n"] == 2


def test_topics_of_other_cohorts_are_not_recommended(school: School) -> None:
    for n in range(5):
        practise(school.student("physics", f"p{n}"), topic="Optics")
        practise(school.student("history", f"h{n}"), topic="Rome")
    named = {one["topic"] for one in school.student("physics", "new").get("/recommendations").json}
    assert named == {"Optics"}


def test_the_learners_of_a_service_account_are_in_its_cohort(
    school: School, service_key: Callable[[School, str], Api]
) -> None:
    api = service_key(school, "history")
    assert api.post("/answers", {"answers": [{**ANSWER, "learner_id": "L1"}]}).status == 200
    assert school.totals() == {"history": (1, 1)}
    assert school.sql("SELECT cohort FROM users WHERE subject = 'L1'") == [("history",)]


@pytest.fixture
def service_key() -> Callable[[School, str], Api]:
    from chalicelib.domain.service_accounts import DEFAULT_SCOPES, hint_of, key_digest, new_key

    def make(school: School, cohort: str) -> Api:
        key = new_key()
        school.sql(
            "INSERT INTO service_accounts (id, name, scopes, cohort) VALUES ('s', 'lms', :scopes, :cohort)",
            scopes=[scope.value for scope in DEFAULT_SCOPES],
            cohort=cohort,
        )
        school.sql(
            "INSERT INTO service_keys (digest, service_id, hint) VALUES (:digest, 's', :hint)",
            digest=key_digest(key),
            hint=hint_of(key),
        )
        return Api(key)

    return make


def test_learners_can_be_written_to_while_they_move(school: School, service_key: Callable[[School, str], Api]) -> None:
    api = service_key(school, "history")
    assert api.post("/answers", {"answers": [{**ANSWER, "learner_id": "L1"}]}).status == 200
    (learner,) = school.sql("SELECT id FROM users WHERE subject = 'L1'")[0]
    school.container.cohorts.move([learner], "physics")  # this process still knows the account's former cohort
    sent = api.post("/answers", {"answers": [{**ANSWER, "id": str(n), "learner_id": f"L{n}"} for n in (1, 2)]})
    assert (sent.status, sent.json["stored"]) == (200, 2)
    assert school.totals() == {"history": (1, 1), "physics": (1, 2)} or school.totals() == {
        "history": (2, 1),
        "physics": (1, 2),
    }


def test_a_training_learns_from_its_cohort_only(school: School) -> None:
    physics = school.student("physics")
    practise(physics, 3)
    practise(school.student("history"), 2)
    found = {cohort: read_snapshot(school.container.engine, cohort) for cohort in ("physics", "history", "default")}
    assert {cohort: (len(one.table), one.counter) for cohort, one in found.items()} == {
        "physics": (3, 3),
        "history": (2, 2),
        "default": (0, 0),
    }
    assert found["physics"].table.user_ids == (school.id_of(physics),)


def test_a_move_takes_the_answers_along_and_counts_each_once(school: School) -> None:
    api = school.student("physics")
    practise(api, 3)
    assert school.container.cohorts.move([school.id_of(api), "nobody"], "history") == 1
    assert school.container.cohorts.move([school.id_of(api)], "history") == 0
    assert school.totals() == {"history": (0, 3)}
    # Until the process reads the account again, it predicts with the old model, but counts in the new cohort.
    practise(api)
    assert school.totals() == {"history": (1, 4)}
    assert api.delete(f"/practice-tasks/{api.get('/practice-tasks').json[0]['id']}").status == 204
    assert school.totals() == {"history": (1, 3)}
    assert api.post("/auth/delete-account", {"password": PASSWORD}).status == 200
    assert school.totals() == {}


def test_a_completion_that_began_before_a_move_counts_after_it(school: School) -> None:
    api = school.student("physics")
    task, user_id = api.post("/practice-tasks", TASK).json["id"], school.id_of(api)
    engine, policy = school.container.engine, TrainingPolicy(5, 5)
    seen = statement(engine, lambda c: completion.read(c, user_id, task))
    transaction(engine, lambda c: move(c, [user_id], "history", "default"))
    # The student's row has another version, so the statement changes nothing, and the store begins again.
    assert statement(engine, lambda c: completion.complete(c, seen, Result(True, 5.0), None, policy)) is None
    assert practise(api).status == 200
    assert school.totals() == {"history": (1, 1)}


def test_completions_in_shards_move_along(school: School) -> None:
    api = school.student("physics")
    practise(school.student("physics", "bob"))
    practise(api, 3)
    # As if two of them had been counted in a shard, and their program had died before it settled them.
    school.sql("INSERT INTO tracker_shards (cohort, shard, n) VALUES ('physics', 0, 2)")
    school.sql(
        "UPDATE embedding_model_tracker SET n_samples_total = 2, n_samples_since_training = 2 WHERE cohort = 'physics'"
    )
    assert school.container.cohorts.move([school.id_of(api)], "history") == 1
    training.sweep(school.container.tracker, school.world.queue, school.container.policy)
    assert school.totals() == {"history": (0, 3), "physics": (4, 1)}


def test_a_training_that_is_due_by_a_move_is_requested(school: School) -> None:
    """The cohort had five new answers and fewer than a training needs."""
    school.container.policy = TrainingPolicy(5, 10)
    first, second = school.student("physics", "a"), school.student("history", "b")
    practise(first, 6)
    practise(second, 4)
    assert school.world.queue.messages == []
    school.container.cohorts.move([school.id_of(second)], "physics")
    training.sweep(school.container.tracker, school.world.queue, school.container.policy)
    assert [request.cohort for request in school.world.queue.messages] == ["physics"]


def test_only_students_who_are_still_elsewhere_are_moved(school: School) -> None:
    """A student who was in the cohort, and leaves it between two statements of a move, stays where they went."""
    here, there = school.student("physics", "here"), school.student("history", "there")
    practise(here, 2)
    ids, engine = [school.id_of(here), school.id_of(there)], school.container.engine

    def leaving(connection: Connection) -> int:
        execute = connection.execute

        def run(query: Any, values: Any = None) -> Any:
            found = execute(query, values)
            if "FOR UPDATE" in str(query) and "users" in str(query):
                school.container.cohorts.move([ids[0]], "default")
            return found

        connection.execute = run  # type: ignore[assignment, method-assign]
        return move(connection, ids, "physics", "default")

    assert transaction(engine, leaving) == 1
    assert [school.cohort_of(api) for api in (here, there)] == ["default", "physics"]
    assert school.totals() == {"default": (0, 2)}


def test_a_cohort_does_not_see_what_another_predicted(school: School) -> None:
    school.publish("physics", "v-physics")
    api = school.student("physics")
    task = api.post("/practice-tasks", TASK | {"topic": "topic 0"}).json["id"]
    school.container.cohorts.move([school.id_of(api)], "history")
    assert api.patch(f"/practice-tasks/{task}", DONE).status == 200
    admin = school.admin("history", COHORT_ADMIN_GROUP)
    assert admin.get("/analytics/calibration?scope=all").json["overall"]["n"] == 0
    assert admin.get("/analytics/groups").json["n"] == 0


def test_nobody_joins_a_cohort_that_was_removed(school: School) -> None:
    api = school.student("physics")
    with pytest.raises(NotFoundError, match="There is no cohort chemistry"):
        school.container.cohorts.move([school.id_of(api)], "chemistry")
    assert school.cohort_of(api) == "physics"


def test_a_name_with_a_null_is_no_cohort(school: School) -> None:
    assert school.admin("default").get("/model/versions?cohort=a%00b").status == 404


OTHERS = """
SELECT 'user', u.id, CAST(u.xmin AS text) FROM users u WHERE cohort = :cohort
UNION ALL SELECT 'task', CAST(t.id AS text), CAST(t.xmin AS text) FROM practice_tasks t JOIN users u ON u.id = t.user_id
    WHERE u.cohort = :cohort
UNION ALL SELECT 'state', s.topic, CAST(s.xmin AS text) FROM practice_state s JOIN users u ON u.id = s.user_id
    WHERE u.cohort = :cohort
UNION ALL SELECT 'tracker', cohort, CAST(xmin AS text) FROM embedding_model_tracker WHERE cohort = :cohort
UNION ALL SELECT 'shard', CAST(shard AS text), CAST(xmin AS text) FROM tracker_shards WHERE cohort = :cohort
ORDER BY 1, 2"""


def test_nothing_that_a_cohort_does_writes_rows_of_another(school: School) -> None:
    practise(school.student("history"), 6)
    before = school.sql(OTHERS, cohort="history")
    assert {row[0] for row in before} == {"user", "task", "state", "tracker"}
    api, admin = school.student("physics"), school.admin("physics")
    practise(api, 7)
    task = api.get("/practice-tasks").json[0]["id"]
    assert api.patch(f"/practice-tasks/{task}", {"is_correct": False}).status == 200
    assert api.delete(f"/practice-tasks/{task}").status == 204
    for path in ("/model/train", "/model/counter"):
        assert admin.post(path, {"value": 3} if path == "/model/counter" else None).status in (200, 202, 409)
    assert api.get("/recommendations").status == 200
    assert api.post("/auth/delete-account", {"password": PASSWORD}).status == 200
    assert school.sql(OTHERS, cohort="history") == before


def test_the_watch_reports_the_most_overdue_cohort(school: School, caplog: pytest.LogCaptureFixture) -> None:
    practise(school.student("history"), 6)
    practise(school.student("physics"), 1)
    caplog.set_level("INFO")
    container = school.container
    watch.watch(container.tracker, "default", container.analytics_of, container.policy, 0.0)
    lines = [record for record in caplog.records if record.name == watch.LOGGER]
    assert [vars(line)["cohort"] for line in lines] == ["history", "default", "physics"]
    assert next(line.getMessage() for line in lines) == "counter over threshold: 6"
