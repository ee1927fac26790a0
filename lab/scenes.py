"""A stack as it looks after some weeks of use, for the screenshots.

Most of the answers become imported history that ends yesterday. The others are given over HTTP, each with the
prediction of its moment, while trainings run as usual. One account is an admin, and one is new and empty.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.client import ApiClient
from chalicelib.domain.tasks import Difficulty
from evaluation import selection, simulator
from evaluation.simulator import SimulatedAnswer
from ops.imports.importer import import_file
from ops.imports.report import ImportReport
from ops.stack import Stack, connect

_ADMIN = "Grace Hopper"

N_ANSWERS, N_USERS, N_TOPICS, SEED = 679, 4, 7, 7

_DAYS = 27
_ALL_TOPICS = 1_000_000  # of a file of history: with few topics each student would have few answers
_IMPORTED_SHARE = 0.6
_OPEN = (("Fractions", "medium", "1/2 + 1/3 = ?"), ("Trigonometry", "hard", "Solve sin(2x) = cos(x) for 0 ≤ x < 2π."))
_NAMES = ("Ada Lovelace", "New Student", _ADMIN, "Emmy Noether", "Sofja Kowalewskaja", "ليلى عبد الرحمن von Hohenfels")
_MANY = (300, 1_000)
_FOREIGN = (
    ("Erdkunde", "Donaudampfschifffahrtsgesellschaftskapitän", "Wie heißt die Mütze des Kapitäns?"),
    ("رياضيات", "كسور", "احسب $1/2 + 1/3$ ثم اكتب الناتج."),
    ("Geschichte", "Straßburger Eide, 842", "Wer schwor wem die Treue, und in welcher Sprache?"),
)
_TRAINING_SECONDS = 300.0
_POLL_SECONDS = 0.2


class SceneError(Exception):
    """The scene could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Person:
    """An account that is logged in."""

    user_id: str
    token: str
    client: ApiClient


@dataclass(frozen=True, slots=True)
class Scene:
    """A stack and its accounts."""

    stack: Stack
    student: Person
    newcomer: Person
    admin: Person
    busy: Person
    """Has 300 tasks."""
    busiest: Person
    """Has 1,000 tasks."""
    traveller: Person
    """Has tasks with long German words and Arabic texts."""


def people(stack: Stack) -> Scene:
    """Make the accounts on a stack."""
    return Scene(stack, *(_person(stack, name) for name in _NAMES))


def answers_of(file: Path | None) -> list[SimulatedAnswer]:
    """Return 679 answers of a few students: simulated, or the most active ones of a file of history."""
    if file is None:
        return simulator.history(N_ANSWERS, N_USERS, simulator.TOPICS[:N_TOPICS], SEED)
    return [
        SimulatedAnswer(
            row.user_id,
            n,
            row.subject,
            row.topic,
            Difficulty.from_numeric(row.difficulty).value,
            int(row.is_correct),
            round(row.seconds or 0),
            "",
        )
        for n, row in enumerate(selection.select(file, N_ANSWERS, N_USERS, _ALL_TOPICS))
    ]


def fill(scene: Scene, answers: Sequence[SimulatedAnswer]) -> None:
    """Give the most active student's answers to the scene's student, and carry everything out."""
    for person in (scene.student, scene.admin, scene.traveller):
        person.client.close()  # the server closes a connection that was idle meanwhile
    (main, _), *_ = Counter(answer.user_id for answer in answers).most_common(1)
    own = [answer for answer in answers if answer.user_id == main]
    before, now = own[: round(len(own) * _IMPORTED_SHARE)], own[round(len(own) * _IMPORTED_SHARE) :]
    history = [answer._replace(user_id=scene.student.user_id) for answer in before]
    others = [each for each in answers if each.user_id != main]
    for person, number in zip((scene.busy, scene.busiest), _MANY, strict=True):
        others += [each._replace(user_id=person.user_id) for each in simulator.history(number, 1, seed=number)]
    placed = over_the_last_days([*history, *others])
    with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
        path = Path(directory) / "history.csv"
        simulator.write_csv(placed, path)
        import_history(scene.stack, path, len(placed))
    scene.admin.client.request("POST", "/model/train")
    _wait_until_idle(scene.student.client)
    _practise(scene.student.client, now)
    _practise(scene.admin.client, now[:12])
    for topic, difficulty, content in _OPEN:
        body = {"subject": simulator.SUBJECT, "topic": topic, "difficulty": difficulty, "task_content": content}
        scene.student.client.request("POST", "/practice-tasks", body)
    for subject, topic, content in _FOREIGN:
        body = {"subject": subject, "topic": topic, "difficulty": "medium", "task_content": content}
        for correct in (True, False):
            task = scene.traveller.client.request("POST", "/practice-tasks", body)
            scene.traveller.client.complete(task["id"], correct, 40)
        scene.traveller.client.request("POST", "/practice-tasks", body)
    _wait_until_idle(scene.student.client)


def _person(stack: Stack, name: str) -> Person:
    account = {"email": f"{uuid.uuid4().hex[:12]}@example.com", "password": uuid.uuid4().hex, "full_name": name}
    client = ApiClient(stack.url)
    user_id = client.request("POST", "/auth/register", account)["id"]
    if name == _ADMIN:
        connect(str(stack.state_dir)).identity.add_to_admins(account["email"])
    return Person(user_id, client.sign_in(account["email"], account["password"]), client)


def over_the_last_days(answers: Sequence[SimulatedAnswer]) -> list[SimulatedAnswer]:
    """Return the answers with new times: each student's evenly over the last weeks until yesterday."""
    last = datetime.now(UTC) - timedelta(days=1)
    number_of = Counter(answer.user_id for answer in answers)
    seen: Counter[str] = Counter()
    placed = []
    for answer in answers:
        left = number_of[answer.user_id] - seen[answer.user_id] - 1
        moment = last - timedelta(days=_DAYS) * left / number_of[answer.user_id]
        placed.append(answer._replace(completed_at=moment.isoformat(), position=seen[answer.user_id]))
        seen[answer.user_id] += 1
    return placed


def import_history(stack: Stack, path: Path, n_answers: int) -> ImportReport:
    """Import a file of history into a stack. Raises SceneError unless all ``n_answers`` are imported."""
    container = connect(str(stack.state_dir))
    try:
        report = import_file(container.engine, container.settings.cohort, path, datetime.now(UTC), lambda _: None)
    finally:
        container.engine.dispose()
    if report.bad or report.processed != n_answers:
        raise SceneError(f"{report.processed} of {n_answers} answers were imported")
    return report


def _practise(client: ApiClient, answers: Sequence[SimulatedAnswer]) -> None:
    for answer in answers:
        task = client.create(answer.subject, answer.topic, answer.difficulty)
        client.complete(task["id"], bool(answer.is_correct), answer.actual_time_seconds)


def _wait_until_idle(client: ApiClient) -> None:
    """Wait until a model serves and no training is running or about to start."""
    deadline = time.monotonic() + _TRAINING_SECONDS
    while time.monotonic() < deadline:
        status = client.status()
        if status["last_error"]:
            raise SceneError(f"the training failed: {status['last_error']}")
        if status["training"] == "idle" and status["model_version"]:
            return
        time.sleep(_POLL_SECONDS)
    raise SceneError(f"no training ended in {_TRAINING_SECONDS:.0f} s")
