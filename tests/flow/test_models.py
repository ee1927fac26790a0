"""``studysmart models`` on a real registry (S3 by moto) and a real tracker: list, compare, move, pin, check, prune."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from chalicelib.config import settings_from
from chalicelib.domain.errors import PointerConflictError
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import Champion
from chalicelib.services import versions
from chalicelib.services.predictions import predict_for
from chalicelib.storage.aws import aws_client
from chalicelib.wiring import Container, build
from ops import cli
from tests.support.archives import version_files
from training_job.gate import Verdict
from training_job.publish import publish

pytestmark = pytest.mark.slow

V1, V2, V3 = "20260101T000000Z-00000001", "20260102T000000Z-00000002", "20260103T000000Z-00000003"
VERSIONS = (V1, V2, V3)


@pytest.fixture
def put(environment: Mapping[str, str], deployment: Container) -> Callable[[str, bytes], None]:
    """Overwrites an object below ``models/default/`` without the registry."""
    client = aws_client("s3", environment["AWS_REGION"])

    def write(name: str, content: bytes) -> None:
        client.put_object(Bucket=environment["REGISTRY_BUCKET"], Key=f"models/default/{name}", Body=content)

    return write


@pytest.fixture
def studysmart(deployment: Container, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Runs a command and returns its exit status and its output, which is decoded with ``--json``."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        status = cli.main(["models", *arguments])
        out = capsys.readouterr().out
        return status, json.loads(out) if "--json" in arguments else out

    return run


def write(deployment: Container, version: str, **metadata: Any) -> None:
    files = version_files(version=version)
    del files["metadata.json"]
    deployment.registry.write_version("default", version, files, {"request_id": f"r {version}", **metadata})


def train(deployment: Container, version: str, *, good: bool = True, requested_at: datetime | None = None) -> str:
    """Do what a training does at its end, and return the version that serves afterwards."""
    files = version_files(version=version)
    del files["metadata.json"]
    verdict = Verdict(good, "as the test says", {})
    served = publish(
        deployment.registry,  # type: ignore[arg-type]
        "default",
        version,
        files,
        {"request_id": f"r {version}", "n_samples": 10, "trained_at": "2026-01-01T10:00:00+00:00"},
        lambda *_: verdict,
        requested_at or datetime.now(UTC),
        lambda: None,
    )
    deployment.tracker.set_model_version("default", served)
    return served


def champion(deployment: Container) -> Champion:
    found = deployment.registry.read_champion("default")
    assert found is not None
    return found[0]


def serving(deployment: Container, environment: Mapping[str, str]) -> str | None:
    """The version by which a fresh process predicts."""
    api = build(settings_from(environment))
    prediction = predict_for(api.tasks, api.champion, "ada", "Math", "topic 1", Difficulty.MEDIUM)
    api.engine.dispose()
    return prediction.model_version


def test_the_list_shows_the_role_of_each_version(deployment: Container, studysmart: Callable[..., Any]) -> None:
    assert studysmart("list") == (0, "No version has been published yet.\n")
    train(deployment, V1)
    train(deployment, V2)
    train(deployment, V3, good=False)
    versions.pin(deployment.registry, deployment.tracker, "default")
    status, out = studysmart("list")
    lines = [line.split() for line in out.splitlines()]
    assert status == 0
    assert lines[0][:2] == ["VERSION", "ROLE"]
    assert (lines[1][0], lines[2][:3], lines[3][:2]) == (V3, [V2, "champion,", "pinned"], [V1, "previous"])
    assert "2026-01-01 10:00:00" in out.splitlines()[2]
    assert studysmart("list", "--json")[1]["versions"][0]["promoted"] is False


def test_a_version_is_shown_and_compared_with_another(
    deployment: Container, studysmart: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write(deployment, V1, n_samples=10, validation={"auc": 0.7})
    write(deployment, V2, n_samples=15, validation={"auc": 0.75})
    status, out = studysmart("show", V1)
    assert status == 0
    assert "validation.auc  0.7\n" in out
    assert "correctness_model.keras" in out
    assert studysmart("show", V1, "--json")[1]["n_samples"] == 10
    status, out = studysmart("diff", V1, V2)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    assert rows == {"n_samples": ["10", "15", "+5"], "validation.auc": ["0.7", "0.75", "+0.05"]}
    assert studysmart("diff", V1, V2, "--json")[1] == {"n_samples": [10, 15], "validation.auc": [0.7, 0.75]}
    assert studysmart("diff", V1, V1)[1] == "The two versions are the same.\n"
    assert cli.main(["models", "show", "v9"]) == 1
    assert "v9" in capsys.readouterr().err


def test_a_rollback_moves_pointer_and_tracker(
    deployment: Container, environment: Mapping[str, str], studysmart: Callable[..., Any]
) -> None:
    for version in VERSIONS:
        train(deployment, version)
    assert serving(deployment, environment) == V3
    assert studysmart("rollback", V1) == (
        0,
        f"Champion: {V1} (a training that is queued or running does not replace it, later ones may)\n",
    )
    moved = champion(deployment)
    assert (moved.version, moved.previous, moved.request_id) == (V1, V3, f"r {V1}")
    assert [version for version, _ in moved.past] == [V3, V2, V1]
    assert deployment.tracker.read("default").model_version == V1
    assert serving(deployment, environment) == V1


def test_an_interrupted_rollback_is_completed_by_repeating_it(
    deployment: Container, studysmart: Callable[..., Any]
) -> None:
    train(deployment, V1)
    train(deployment, V2)
    found = deployment.registry.read_champion("default")
    assert found is not None
    interrupted = replace(versions.successor(found[0], V1, None), rolled_back_at=datetime.now(UTC).isoformat())
    deployment.registry.write_champion("default", interrupted, found[1])
    before = champion(deployment)
    assert deployment.tracker.read("default").model_version == V2
    assert studysmart("rollback", V1)[0] == 0
    assert replace(champion(deployment), rolled_back_at=before.rolled_back_at) == before
    assert deployment.tracker.read("default").model_version == V1


def test_a_rollback_repairs_a_malformed_pointer(
    deployment: Container,
    environment: Mapping[str, str],
    studysmart: Callable[..., Any],
    put: Callable[[str, bytes], None],
) -> None:
    train(deployment, V1)
    put("champion.json", b"{")
    assert serving(deployment, environment) is None
    assert studysmart("rollback", V1)[0] == 0
    assert serving(deployment, environment) == V1


def test_a_training_repairs_a_malformed_pointer(deployment: Container, put: Callable[[str, bytes], None]) -> None:
    train(deployment, V1)
    put("champion.json", b"\xff")
    assert train(deployment, V2) == V2
    assert champion(deployment).version == V2


def test_after_concurrent_rollbacks_the_tracker_is_right(deployment: Container) -> None:
    names = [f"v{i}" for i in range(4)]
    for name in names:
        write(deployment, name)

    def move(version: str) -> None:
        for _ in range(5):
            try:
                versions.rollback(deployment.registry, deployment.tracker, "default", version)
                return
            except PointerConflictError:
                continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, names * 3))
    assert deployment.tracker.read("default").model_version == champion(deployment).version


def test_a_pinned_champion_is_not_replaced(deployment: Container, studysmart: Callable[..., Any]) -> None:
    train(deployment, V1)
    status, out = studysmart("pin")
    assert (status, out) == (0, f"Champion: {V1} (pinned: trainings do not replace it)\n")
    assert train(deployment, V2) == V1
    promotion = deployment.registry.read_metadata("default", V2)["promotion"]
    assert (promotion["promoted"], promotion["reason"]) == (False, f"champion {V1} is pinned")
    assert studysmart("unpin", "--json")[1]["pinned"] is False
    assert train(deployment, V3) == V3


def test_pinning_another_version_makes_it_the_champion(deployment: Container, studysmart: Callable[..., Any]) -> None:
    train(deployment, V1)
    train(deployment, V2)
    assert studysmart("pin", V1)[0] == 0
    moved = champion(deployment)
    assert (moved.version, moved.pinned, moved.previous) == (V1, True, V2)
    assert deployment.tracker.read("default").model_version == V1


def test_a_rollback_of_a_pinned_champion_stays_pinned(deployment: Container, studysmart: Callable[..., Any]) -> None:
    train(deployment, V1)
    train(deployment, V2)
    studysmart("pin")
    studysmart("rollback", V1)
    assert champion(deployment).pinned
    assert train(deployment, V3) == V1


def test_a_rollback_stands_against_trainings_that_were_requested_before(
    deployment: Container, studysmart: Callable[..., Any]
) -> None:
    train(deployment, V1)
    train(deployment, V2)
    before = datetime.now(UTC)
    studysmart("rollback", V1)
    assert train(deployment, V3, requested_at=before) == V1
    listed = {found.version: found for found in versions.list_versions(deployment.registry, "default").versions}
    assert listed[V3].reason == f"an operator chose {V1} after this training was requested"
    assert (listed[V1].until, listed[V3].from_) == (None, None)
    assert "" < (listed[V2].from_ or "") < (listed[V2].until or "")
    v4 = "20260104T000000Z-00000004"
    assert train(deployment, v4) == v4
    assert champion(deployment).rolled_back_at is None


def test_without_a_champion_there_is_nothing_to_pin(
    deployment: Container, studysmart: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "pin"]) == 1
    assert "there is no champion to pin" in capsys.readouterr().err
    assert cli.main(["models", "unpin"]) == 1


def test_a_pin_on_an_unreadable_champion_is_removed(
    deployment: Container,
    environment: Mapping[str, str],
    studysmart: Callable[..., Any],
    put: Callable[[str, bytes], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    train(deployment, V1)
    studysmart("pin")
    put(f"{V1}/lnirt.json", b"{}")
    assert serving(deployment, environment) is None
    with caplog.at_level(logging.ERROR, logger="studysmart.worker"):
        assert train(deployment, V2) == V2
    assert f"champion {V1} cannot be read and is replaced, despite its pin" in caplog.text
    reason = deployment.registry.read_metadata("default", V2)["promotion"]["reason"]
    assert f"champion {V1} cannot be read and is replaced, despite its pin" in reason
    assert serving(deployment, environment) == V2
    assert (champion(deployment).pinned, champion(deployment).previous) == (False, V1)


def test_verify_finds_nothing_in_an_intact_registry(deployment: Container, studysmart: Callable[..., Any]) -> None:
    assert studysmart("verify") == (0, "0 versions read, 0 faults found\n")
    train(deployment, V1)
    train(deployment, V2)
    assert studysmart("verify") == (0, "2 versions read, 0 faults found\n")
    assert studysmart("verify", "--json")[1]["clean"] is True


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def test_verify_names_every_fault(
    deployment: Container, studysmart: Callable[..., Any], put: Callable[[str, bytes], None]
) -> None:
    for version in VERSIONS:
        train(deployment, version)
    files = deployment.registry.read_version("default", V1)
    put(f"{V1}/lnirt.json", flipped(files["lnirt.json"]))
    put(f"{V1}/time_model.keras", files["time_model.keras"][:-1])
    put(f"{V2}/metadata.json", b"[]")
    metadata = {**deployment.registry.read_metadata("default", V3), "version": V1}
    put(f"{V3}/metadata.json", json.dumps(metadata).encode())
    status, out = studysmart("verify")
    lines = out.splitlines()
    assert status == 1
    assert f"FAULT  {V3} (champion): metadata.json of version {V3} is that of version {V1}" in lines
    assert any(line.startswith(f"FAULT  {V2} (previous): metadata.json of version {V2} is malformed") for line in lines)
    assert any(line.startswith(f"FAULT  {V1} (past): lnirt.json of version {V1} is damaged") for line in lines)
    assert any(line.startswith(f"FAULT  {V1} (past): time_model.keras of version {V1} is damaged") for line in lines)
    assert lines[-1] == "3 versions read, 4 faults found"


def test_verify_reports_champions_that_are_gone(deployment: Container, studysmart: Callable[..., Any]) -> None:
    train(deployment, V1)
    train(deployment, V2)
    deployment.registry.delete_version("default", V1)
    assert studysmart("verify") == (
        1,
        f"FAULT  {V1} (previous): metadata.json is missing\n2 versions read, 1 fault found\n",
    )


def test_verify_names_a_malformed_pointer(
    deployment: Container, studysmart: Callable[..., Any], put: Callable[[str, bytes], None]
) -> None:
    train(deployment, V1)
    put("champion.json", b'{"version": "a/b"}')
    status, out = studysmart("verify")
    assert status == 1
    assert out.startswith("FAULT  pointer: champion.json is malformed")


def test_an_unservable_version_is_a_fault_only_of_a_champion(
    deployment: Container, studysmart: Callable[..., Any]
) -> None:
    train(deployment, V1)
    deployment.registry.write_version("default", V2, {"lnirt.json": b"{}"}, {})
    status, out = studysmart("verify")
    assert status == 0
    assert f"note   {V2} is complete, but this program cannot serve it: the version lacks" in out
    found = deployment.registry.read_champion("default")
    assert found is not None
    deployment.registry.write_champion("default", versions.successor(found[0], V2, None), found[1])
    status, out = studysmart("verify")
    assert status == 1
    assert f"FAULT  {V2} (champion): the version lacks" in out


def test_prune_keeps_the_newest_and_recent_champions(deployment: Container, studysmart: Callable[..., Any]) -> None:
    names = [f"2026010{i}T000000Z-0000000{i}" for i in range(1, 9)]
    for name in names:
        write(deployment, name)
    now = datetime.now(UTC)
    past = (
        (names[1], now.isoformat()),
        (names[2], (now - timedelta(days=29)).isoformat()),
        (names[3], (now - timedelta(days=31)).isoformat()),
    )
    pointer = Champion(names[0], names[1], now.isoformat(), None, pinned=True, past=past)
    deployment.registry.write_champion("default", pointer, None)
    doomed = [names[5], names[4], names[3]]
    assert studysmart("prune", "--keep", "2", "--dry-run", "--json")[1] == {"deleted": [], "would_delete": doomed}
    assert len(deployment.registry.list_versions("default")) == 8
    status, out = studysmart("prune", "--keep", "2")
    assert (status, out.splitlines()[-1]) == (0, "3 versions deleted")
    assert deployment.registry.list_versions("default") == [names[7], names[6], names[2], names[1], names[0]]


def test_prune_deletes_nothing_without_a_readable_pointer(
    deployment: Container, studysmart: Callable[..., Any], put: Callable[[str, bytes], None]
) -> None:
    for version in VERSIONS:
        train(deployment, version)
    put("champion.json", b"")
    assert studysmart("prune", "--keep", "1") == (0, "0 versions deleted\n")
    assert len(deployment.registry.list_versions("default")) == 3


def test_a_rollback_during_prune_protects_its_version(deployment: Container) -> None:
    for version in VERSIONS:
        write(deployment, version)
    deployment.registry.write_champion("default", versions.successor(None, V3, None), None)

    class Rolled(type(deployment.registry)):  # type: ignore[misc]
        """Between the list and the deletion an operator rolls back to the oldest."""

        def list_versions(self, cohort: str) -> list[str]:
            found: list[str] = super().list_versions(cohort)
            versions.rollback(deployment.registry, deployment.tracker, cohort, V1)
            return found

    registry = Rolled(aws_client("s3", deployment.settings.aws_region), deployment.settings.registry_bucket)
    assert versions.prune(registry, "default", 1) == [V2]
    assert deployment.registry.list_versions("default") == [V3, V1]


def test_predictions_follow_every_move(deployment: Container) -> None:
    train(deployment, V1)
    train(deployment, V2)
    task = deployment.tasks.insert(
        "ada",
        NewTask("Math", "topic 1", Difficulty.MEDIUM, "?"),
        predict_for(deployment.tasks, deployment.champion, "ada", "Math", "topic 1", Difficulty.MEDIUM),
    )
    deployment.tasks.complete("ada", task.id, Result(True, 10.0), None, deployment.policy)
    for version in (V1, V2, V1):
        versions.rollback(deployment.registry, deployment.tracker, "default", version)
        prediction = predict_for(deployment.tasks, deployment.champion, "ada", "Math", "topic 1", Difficulty.MEDIUM)
        assert (prediction.source, prediction.model_version) == (Source.EMBEDDING, version)
