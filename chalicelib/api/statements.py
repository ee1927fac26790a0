"""Statements of the Experience API (xAPI 1.0.3), and the answers that they are.

Of all statements, those of the verb "answered" are read, with what an answer needs. A property that is neither read nor
listed here is refused, so that nobody believes that it was stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType

from chalicelib.domain.answers import CompletedAnswer, GivenAnswer
from chalicelib.domain.errors import BadRequestError
from chalicelib.domain.fields import about
from chalicelib.domain.service_accounts import LEARNER_PATTERN
from chalicelib.domain.tasks import MAX_NAME_LENGTH, MAX_SECONDS, MIN_SECONDS, Difficulty, name_key

VERSION = "1.0.3"
XAPI_VERSION = "X-Experience-API-Version"
XAPI_THROUGH = "X-Experience-API-Consistent-Through"
ANSWERED = "http://adlnet.gov/expapi/verbs/answered"
HOME_PAGE = "urn:studysmart:learners"
"""The home page of accounts in statements that are read back."""

ITEM = "urn:studysmart:item:"
"""Start of the ids of activities that are not IRIs in the app. The percent-encoded item follows."""

TASK = "urn:studysmart:task:"
"""Start of the ids of activities without an item."""

_LONGEST_SHOWN = 100

NOT_KEPT = "It is accepted, and not stored"
Agent = Annotated[Literal["Agent"], about("The kind of the actor", "Agent")]
ActivityType = Annotated[Literal["Activity"], about("The kind of the object", "Activity")]

_ACTIVITIES = {
    kind: [{"id": f"https://app.example.org/{name.lower()}", "definition": {"name": {"en": name}}}]
    for kind, name in (("grouping", "Mathematics"), ("parent", "Fractions"))
}


class XapiAccount(Struct, forbid_unknown_fields=True):
    """The account of a learner in the app."""

    name: Annotated[str, about("The app's own id of the learner: 1 to 128 visible ASCII characters", "pupil-4711")]
    home_page: Annotated[
        str, about(f"The system that the account belongs to. {NOT_KEPT}: names must be unique", HOME_PAGE)
    ] = msgspec.field(name="homePage")


class XapiActor(Struct, forbid_unknown_fields=True):
    """The learner."""

    account: Annotated[XapiAccount, about("The account of the learner in the app")]
    object_type: Agent | None = msgspec.field(name="objectType", default=None)
    name: Annotated[str, about(f"Name of the learner. {NOT_KEPT}")] | None = None


class XapiVerb(Struct, forbid_unknown_fields=True):
    """The verb "answered"."""

    id: Annotated[str, about(f"`{ANSWERED}`", ANSWERED)]
    display: Annotated[dict[str, str], about(f"The verb in words. {NOT_KEPT}", {"en": "answered"})] | None = None


class XapiObject(Struct, forbid_unknown_fields=True):
    """The exercise."""

    id: Annotated[
        str,
        about("Id of the exercise, the `item_id` of the answer", "https://app.example.org/exercises/17", min_length=1),
    ]
    object_type: ActivityType | None = msgspec.field(name="objectType", default=None)
    definition: Annotated[dict[str, Any], about(f"Description of the exercise. {NOT_KEPT}")] | None = None


class XapiResult(Struct, forbid_unknown_fields=True):
    """The result."""

    success: Annotated[bool, about("The answer is correct", True)]
    duration: (
        Annotated[str, about("Time that the learner took (ISO 8601), with 0 for a time that was not measured", "PT42S")]
        | None
    ) = None
    completion: Annotated[bool, about(f"The exercise was completed. {NOT_KEPT}")] | None = None
    response: Annotated[str, about(f"The answer that the learner gave. {NOT_KEPT}")] | None = None
    score: Annotated[dict[str, float], about(f"The score. {NOT_KEPT}")] | None = None


class XapiDefinition(Struct, forbid_unknown_fields=True):
    """The name of a subject or topic."""

    name: Annotated[dict[str, str], about("The name, in one language", {"en": "Fractions"})]
    type: Annotated[str, about(f"IRI of the kind of the activity. {NOT_KEPT}")] | None = None
    description: Annotated[dict[str, str], about(f"A text. {NOT_KEPT}")] | None = None


class XapiActivity(Struct, forbid_unknown_fields=True):
    """A subject or topic as an activity."""

    id: Annotated[
        str, about(f"IRI of the subject or topic. {NOT_KEPT}", "https://app.example.org/topics/fractions", min_length=1)
    ]
    definition: Annotated[XapiDefinition, about("The definition, whose name is the subject or topic")]
    object_type: ActivityType | None = msgspec.field(name="objectType", default=None)


class XapiActivities(Struct, forbid_unknown_fields=True):
    """The subject and topic as activities."""

    parent: Annotated[list[XapiActivity], about("The topic, as the only entry")] | None = None
    grouping: Annotated[list[XapiActivity], about("The subject, as the only entry")] | None = None


class XapiExtensions(Struct, forbid_unknown_fields=True):
    """The extensions of a context that are read."""

    subject: Annotated[str, about("Subject of the exercise", "Mathematics")] | None = msgspec.field(
        name="urn:studysmart:subject", default=None
    )
    topic: Annotated[str, about("Topic of the exercise", "Fractions")] | None = msgspec.field(
        name="urn:studysmart:topic", default=None
    )
    difficulty: Annotated[str, about("`easy`, `medium`, `hard` or `expert`", "medium")] | None = msgspec.field(
        name="urn:studysmart:difficulty", default=None
    )


class XapiContext(Struct, forbid_unknown_fields=True):
    """Subject, topic, difficulty and session of an answer."""

    extensions: Annotated[XapiExtensions | None, about("Subject, topic and difficulty by their names")] = None
    activities: Annotated[
        XapiActivities | None, about("Subject and topic as activities, unless they are extensions", _ACTIVITIES)
    ] = msgspec.field(name="contextActivities", default=None)
    registration: Annotated[UUID, about("The `study_session_id` of the answer")] | None = None
    platform: Annotated[str, about(f"Platform on which it happened. {NOT_KEPT}")] | None = None
    language: Annotated[str, about(f"Language in which it happened. {NOT_KEPT}")] | None = None


class Statement(Struct, forbid_unknown_fields=True):
    """A learner answered an exercise. Properties that are not listed are refused."""

    id: Annotated[
        UUID,
        about(
            "Id of the statement, which the app chooses. It becomes the id of the task",
            "12345678-1234-4678-9234-567812345678",
        ),
    ]
    actor: Annotated[XapiActor, about("The learner")]
    verb: Annotated[XapiVerb, about("The verb")]
    object: Annotated[XapiObject, about("The exercise")]
    result: Annotated[XapiResult, about("The result")]
    context: Annotated[XapiContext, about("Subject, topic, difficulty and session")]
    timestamp: (
        Annotated[datetime, about("Time of the answer; now if it is left out", "2026-03-02T09:01:00Z")] | None
    ) = None
    version: Annotated[str, about("Version of xAPI, 1.0 or 1.0.x", "1.0.3")] | None = None


class ShownAccount(Struct, rename={"home_page": "homePage"}):
    """The account of a learner."""

    name: Annotated[str, about("The app's own id of the learner", "pupil-4711")]
    home_page: Annotated[str, about("Always the same", HOME_PAGE)] = HOME_PAGE


class ShownActor(Struct, rename={"object_type": "objectType"}):
    """The learner."""

    account: Annotated[ShownAccount, about("The account of the learner")]
    object_type: Annotated[str, about("The kind of the actor", "Agent")] = "Agent"


class ShownVerb(Struct):
    """The verb "answered"."""

    id: Annotated[str, about("The verb", ANSWERED)] = ANSWERED
    display: Annotated[dict[str, str], about("The verb in words", {"en": "answered"})] = msgspec.field(
        default_factory=lambda: {"en": "answered"}
    )


class ShownActivity(Struct, rename={"object_type": "objectType"}):
    """The exercise."""

    id: Annotated[
        str,
        about(
            f"The `item_id`, with `{ITEM}` before it if it is not an IRI; `{TASK}` and the id of the task without one",
            "https://app.example.org/exercises/17",
        ),
    ]
    object_type: Annotated[str, about("The kind of the object", "Activity")] = "Activity"


class ShownResult(Struct):
    """The result."""

    success: Annotated[bool, about("The answer is correct", True)]
    duration: Annotated[str, about("Time that the learner took; absent if it is unknown", "PT42S")] | UnsetType = UNSET


class ShownExtensions(Struct, rename=lambda name: f"urn:studysmart:{name}"):
    """Subject, topic and difficulty."""

    subject: Annotated[str, about("Subject of the exercise", "Mathematics")]
    topic: Annotated[str, about("Topic of the exercise", "Fractions")]
    difficulty: Annotated[str, about("`easy`, `medium`, `hard` or `expert`", "medium")]


class ShownContext(Struct):
    """Subject, topic, difficulty and session."""

    extensions: Annotated[ShownExtensions, about("Subject, topic and difficulty")]
    registration: Annotated[UUID, about("The `study_session_id`; absent without one")] | UnsetType = UNSET


class ShownStatement(Struct):
    """An answer of a learner, as it is now. It can be sent as a statement again."""

    id: Annotated[str, about("Id of the statement, and of the task", "12345678-1234-4678-9234-567812345678", "uuid")]
    actor: Annotated[ShownActor, about("The learner")]
    verb: Annotated[ShownVerb, about("The verb")]
    object: Annotated[ShownActivity, about("The exercise")]
    result: Annotated[ShownResult, about("The result")]
    context: Annotated[ShownContext, about("Subject, topic, difficulty and session")]
    timestamp: (
        Annotated[str, about("Time of the answer; absent if it is unknown", "2026-03-02T09:01:00+00:00")] | UnsetType
    ) = UNSET
    version: Annotated[str, about("Version of xAPI", VERSION)] = VERSION


def statements_from(value: Any) -> list[Statement]:
    """Return the statements of a JSON value, which is one or a list. Raises BadRequestError for the first fault."""
    several = value if isinstance(value, list) else [value]
    found = []
    for n, one in enumerate(several):
        where = f"statements[{n}]." if isinstance(value, list) else ""
        try:
            found.append(msgspec.convert(one, Statement))
        except msgspec.ValidationError as error:
            raise _refused(where, *_explained(error, one)) from error
    return found


def answer_of(statement: Statement, user_id: str, where: str = "") -> CompletedAnswer:
    """Return the answer that a statement is. ``where`` begins the name of a field. Raises BadRequestError."""
    if statement.verb.id != ANSWERED:
        raise _refused(where, "verb.id", f"only {ANSWERED} is an answer", statement.verb.id)
    if statement.version is not None and not is_version(statement.version):
        raise _refused(where, "version", "must be 1.0 or 1.0.x", statement.version)
    name = statement.actor.account.name
    if re.search(LEARNER_PATTERN, name, re.ASCII) is None:
        raise _refused(where, "actor.account.name", "must be 1 to 128 visible ASCII characters", name)
    context = statement.context
    given = context.extensions or XapiExtensions()
    activities = context.activities or XapiActivities()
    try:
        difficulty = Difficulty.MEDIUM if given.difficulty is None else Difficulty(given.difficulty)
    except ValueError as error:
        known = ", ".join(Difficulty)
        raise _refused(where, _EXTENSION.format("difficulty"), f"must be one of {known}", given.difficulty) from error
    item = statement.object.id
    if item.startswith(ITEM):
        item = unquote(item.removeprefix(ITEM))
    at = statement.timestamp
    return CompletedAnswer(
        user_id,
        str(statement.id),
        _named(where, "subject", given.subject, "grouping", activities.grouping),
        _named(where, "topic", given.topic, "parent", activities.parent),
        difficulty,
        statement.result.success,
        _seconds_of(where, statement.result.duration),
        at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at,
        None if item.startswith(TASK) else _name(where, "object.id", item),
        session_id=context.registration,
        own_task_id=str(statement.id),
    )


def statement_of(answer: GivenAnswer, learner_id: str) -> ShownStatement:
    """Return the statement of an answer."""
    if answer.item_id is None:
        activity = TASK + answer.id
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z", answer.item_id):
        activity = answer.item_id
    else:
        activity = ITEM + quote(answer.item_id, safe="")
    return ShownStatement(
        answer.id,
        ShownActor(ShownAccount(learner_id)),
        ShownVerb(),
        ShownActivity(activity),
        ShownResult(answer.is_correct, UNSET if answer.seconds is None else duration_of(answer.seconds)),
        ShownContext(
            ShownExtensions(answer.subject, answer.topic, answer.difficulty.value),
            UNSET if answer.session_id is None else answer.session_id,
        ),
        UNSET if answer.at is None else answer.at.astimezone(UTC).isoformat(),
    )


def learner_of(agent: str) -> str:
    """Return the learner whom the parameter ``agent`` names. Raises BadRequestError."""
    try:
        found = msgspec.json.decode(agent, type=XapiActor)
    except (ValueError, RecursionError) as error:
        raise _refused("", "agent", f"must be an agent with an account, as JSON ({error})", agent) from error
    name = found.account.name
    if re.search(LEARNER_PATTERN, name, re.ASCII) is None:
        raise _refused("", "agent.account.name", "must be 1 to 128 visible ASCII characters", name)
    return name


def is_version(text: str) -> bool:
    """Return True for a version of xAPI whose statements are read."""
    return re.fullmatch(r"1\.0(\.\d+)?", text, re.ASCII) is not None


_EXTENSION = "context.extensions.urn:studysmart:{}"

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+(?:\.\d+)?)W|(?:(?P<days>\d+(?:\.\d+)?)D)?(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?"
    r"(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?)",
    re.ASCII,
)
_UNITS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def seconds_of(duration: str) -> float | None:
    """Return the seconds of a duration in ISO 8601, None for another text or one with months or years."""
    found = _DURATION.fullmatch(duration)
    if found is None or duration.endswith("T") or not any(found.groupdict().values()):
        return None
    return sum(float(number) * _UNITS[unit] for unit, number in found.groupdict().items() if number)


def duration_of(seconds: float) -> str:
    """Return a duration in ISO 8601."""
    return f"PT{seconds:.3f}".rstrip("0").rstrip(".") + "S"


def _seconds_of(where: str, duration: str | None) -> float | None:
    if duration is None:
        return None
    seconds = seconds_of(duration)
    if seconds is None:
        raise _refused(
            where, "result.duration", "must be a duration such as PT42.5S, without months and years", duration
        )
    if not (seconds == 0 or MIN_SECONDS <= seconds <= MAX_SECONDS):
        problem = f"must be 0, or {MIN_SECONDS} to {MAX_SECONDS} seconds"
        raise _refused(where, "result.duration", problem, duration)
    return seconds


def _named(where: str, field: str, given: str | None, kind: str, activities: list[XapiActivity] | None) -> str:
    """Return the subject or topic from the extension or the activity that has it."""
    place = f"context.contextActivities.{kind}"
    extension = _EXTENSION.format(field)
    if activities is None:
        if given is None:
            raise BadRequestError(f"{where}{extension}: Field required, unless {place} has it")
        return _name(where, extension, given)
    if len(activities) != 1:
        raise BadRequestError(f"{where}{place}: must have one entry, the {field}, and has {len(activities)}")
    names = activities[0].definition.name
    place += "[0].definition.name"
    if len(names) != 1:
        raise _refused(where, place, f"must have one language, or {extension} must be used", names)
    (name,) = names.values()
    if given is not None and given != name:
        raise _refused(where, place, f"is not {_shown(given)}, which {extension} has", name)
    return _name(where, place, name)


def _name(where: str, place: str, name: str) -> str:
    if "\0" in name or len(name) > MAX_NAME_LENGTH or not name_key(name):
        problem = f"must have a visible character, no NUL, and at most {MAX_NAME_LENGTH} characters"
        raise _refused(where, place, problem, name)
    return name


def _explained(error: msgspec.ValidationError, value: Any) -> tuple[str, str, Any]:
    """Return the path, the reason and the value of a fault."""
    reason, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".").replace("[...]", "")
    found = value
    for part in filter(None, path.split(".")):
        name, _, index = part.partition("[")
        found = found.get(name) if isinstance(found, Mapping) else None
        if index and isinstance(found, list):
            found = found[int(index.rstrip("]"))]
    return path or "statement", reason, found


def _refused(where: str, place: str, reason: str, value: Any) -> BadRequestError:
    return BadRequestError(f"{where}{place}: {reason}, got {_shown(value)}")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
