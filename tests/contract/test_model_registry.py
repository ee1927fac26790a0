"""What every model registry does, be it in memory or in S3."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.domain.errors import LeaseLostError, ModelError, NotFoundError, PointerConflictError
from chalicelib.domain.model_files import MAX_BYTES
from chalicelib.domain.training import Champion
from chalicelib.ports import ModelRegistry
from chalicelib.storage.aws import aws_client
from chalicelib.storage.model_registry import S3ModelRegistry

FILES = {"correctness_model.keras": b"c" * 1000, "time_model.keras": b"t" * 500, "lnirt.json": b"{}"}


def champion(version: str, previous: str | None = None) -> Champion:
    return Champion(version, previous, "2026-01-01T00:00:00+00:00", "r1", past=(("v0", "2025-12-31T00:00:00+00:00"),))


OTHER_FILES = {name: body + b"!" for name, body in FILES.items()}


def test_a_written_version_reads_back_whole(registry: ModelRegistry) -> None:
    metadata = registry.write_version("default", "v1", FILES, {"n_samples": 10})
    assert metadata["files"]["lnirt.json"]["size"] == 2
    files = registry.read_version("default", "v1")
    assert {name: files[name] for name in FILES} == FILES
    assert "metadata.json" in files
    assert registry.read_metadata("default", "v1") == metadata


def test_some_files_can_be_read_alone(registry: ModelRegistry) -> None:
    registry.write_version("default", "v1", FILES, {})
    assert set(registry.read_version("default", "v1", ["lnirt.json"])) == {"lnirt.json", "metadata.json"}


def test_a_named_file_that_the_version_lacks_is_refused(registry: ModelRegistry) -> None:
    registry.write_version("default", "v1", FILES, {})
    with pytest.raises(ModelError, match=r"vocabulary\.json"):
        registry.read_version("default", "v1", ["lnirt.json", "vocabulary.json"])


def test_an_unknown_version_is_not_found(registry: ModelRegistry) -> None:
    with pytest.raises(NotFoundError):
        registry.read_version("default", "v1")
    with pytest.raises(NotFoundError):
        registry.read_version("default", "v1", ["lnirt.json"])
    with pytest.raises(NotFoundError):
        registry.read_metadata("default", "v1")


def test_a_damaged_file_is_refused(registry: ModelRegistry, damage: Callable[..., None]) -> None:
    registry.write_version("default", "v1", FILES, {})
    damage("default", "v1", "lnirt.json", b"[]")
    with pytest.raises(ModelError, match=r"lnirt\.json"):
        registry.read_version("default", "v1")


@pytest.mark.slow
def test_an_object_that_is_too_large_is_not_read(aws: dict[str, str]) -> None:
    client = aws_client("s3", aws["AWS_REGION"])
    registry = S3ModelRegistry(client, aws["REGISTRY_BUCKET"])
    registry.write_version("default", "v1", FILES, {})
    large = b" " * (MAX_BYTES["metadata.json"] + 1)
    for key in ("champion.json", "v1/metadata.json"):
        client.put_object(Bucket=aws["REGISTRY_BUCKET"], Key=f"models/default/{key}", Body=large)
    with pytest.raises(ModelError, match="more than"):
        registry.read_champion("default")
    with pytest.raises(ModelError, match="more than"):
        registry.read_version("default", "v1")


def test_notes_are_added_to_the_metadata_and_leave_the_files(registry: ModelRegistry) -> None:
    registry.write_version("default", "v1", FILES, {"n_samples": 10})
    registry.annotate_version("default", "v1", {"promotion": {"promoted": False, "reason": "worse"}})
    metadata = registry.read_metadata("default", "v1")
    assert metadata["promotion"]["reason"] == "worse"
    assert metadata["n_samples"] == 10
    assert registry.read_version("default", "v1")["lnirt.json"] == b"{}"


def test_versions_are_listed_newest_first_by_cohort(registry: ModelRegistry) -> None:
    for version in ("20260101T000000Z-a", "20260301T000000Z-b", "20260201T000000Z-c"):
        registry.write_version("default", version, FILES, {})
    registry.write_version("other", "20260401T000000Z-d", FILES, {})
    assert registry.list_versions("default") == ["20260301T000000Z-b", "20260201T000000Z-c", "20260101T000000Z-a"]


def test_a_deleted_version_is_gone(registry: ModelRegistry) -> None:
    registry.write_version("default", "v1", FILES, {})
    registry.delete_version("default", "v1")
    assert registry.list_versions("default") == []
    with pytest.raises(NotFoundError):
        registry.read_version("default", "v1")


def test_there_is_no_champion_at_first(registry: ModelRegistry) -> None:
    assert registry.read_champion("default") is None
    assert registry.champion_etag("default") is None


def test_the_pointer_reads_back_as_written(registry: ModelRegistry) -> None:
    etag = registry.write_champion("default", champion("v1"), None)
    assert registry.read_champion("default") == (champion("v1"), etag)
    assert registry.champion_etag("default") == etag


def test_an_unchanged_pointer_is_not_read_again(registry: ModelRegistry) -> None:
    etag = registry.write_champion("default", champion("v1"), None)
    assert registry.read_champion("default", etag) is None
    moved = registry.write_champion("default", champion("v2", "v1"), etag)
    found = registry.read_champion("default", etag)
    assert found == (champion("v2", "v1"), moved)


def test_a_second_first_champion_is_refused(registry: ModelRegistry) -> None:
    registry.write_champion("default", champion("v1"), None)
    with pytest.raises(PointerConflictError):
        registry.write_champion("default", champion("v2"), None)


def test_a_pointer_that_moved_meanwhile_is_not_overwritten(registry: ModelRegistry) -> None:
    etag = registry.write_champion("default", champion("v1"), None)
    registry.write_champion("default", champion("v2"), etag)
    with pytest.raises(PointerConflictError):
        registry.write_champion("default", champion("v3"), etag)
    found = registry.read_champion("default")
    assert found is not None
    assert found[0].version == "v2"


def test_of_many_who_move_the_pointer_at_once_one_wins(registry: ModelRegistry) -> None:
    etag = registry.write_champion("default", champion("v0"), None)

    def move(i: int) -> bool:
        try:
            registry.write_champion("default", champion(f"v{i}"), etag)
        except PointerConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(move, range(1, 9))) == 1


@pytest.mark.slow
def test_a_worker_that_was_overtaken_does_not_write_over_what_the_other_wrote(aws: dict[str, str]) -> None:
    s3 = aws_client("s3", aws["AWS_REGION"])
    registry = S3ModelRegistry(s3, aws["REGISTRY_BUCKET"])
    asked: list[bool] = []

    def still_ours() -> None:
        if asked:
            raise LeaseLostError("taken over")
        asked.append(True)
        registry.write_version("default", "v1", OTHER_FILES, {"n_samples": 11})

    with pytest.raises(LeaseLostError):
        registry.write_version("default", "v1", FILES, {"n_samples": 10}, still_ours)
    assert registry.read_version("default", "v1", list(OTHER_FILES)).items() >= OTHER_FILES.items()
    assert registry.read_metadata("default", "v1")["n_samples"] == 11


@pytest.mark.slow
def test_with_a_key_only_signed_versions_are_read(aws: dict[str, str]) -> None:
    client, bucket = aws_client("s3", aws["AWS_REGION"]), aws["REGISTRY_BUCKET"]
    old, new = "o" * 32, "n" * 32
    signed = S3ModelRegistry(client, bucket, [old])
    S3ModelRegistry(client, bucket).write_version("default", "v1", FILES, {"n_samples": 10})
    signed.write_version("default", "v2", FILES, {"n_samples": 11})
    signed.annotate_version("default", "v2", {"promotion": {"promoted": True, "reason": "better"}})
    for names in (None, ["lnirt.json"]):
        with pytest.raises(ModelError, match="v1 is not signed with MODEL_SIGNING_KEY"):
            signed.read_version("default", "v1", names)
        signed.read_version("default", "v2", names)
        S3ModelRegistry(client, bucket).read_version("default", "v2", names)
    S3ModelRegistry(client, bucket, [new, old]).read_version("default", "v2")
    with pytest.raises(ModelError, match="v2 is not signed"):
        S3ModelRegistry(client, bucket, [new]).read_version("default", "v2")
    signed.sign_version("default", "v1")
    signed.read_version("default", "v1")
    assert signed.read_metadata("default", "v1")["n_samples"] == 10


@pytest.mark.slow
@pytest.mark.parametrize("change", ["file", "name", "cohort", "no signature", "a signature of another alphabet"])
def test_a_signature_fits_one_version_only(aws: dict[str, str], change: str) -> None:
    client, bucket = aws_client("s3", aws["AWS_REGION"]), aws["REGISTRY_BUCKET"]
    registry = S3ModelRegistry(client, bucket, ["k" * 32])
    signature = registry.write_version("default", "v1", FILES, {})["signature"]
    cohort, version = "other" if change == "cohort" else "default", "v2" if change == "name" else "v1"
    forged = {"no signature": {}, "a signature of another alphabet": {"signature": "é" * 64}}
    files = OTHER_FILES if change == "file" else FILES
    S3ModelRegistry(client, bucket).write_version(cohort, version, files, forged.get(change, {"signature": signature}))
    with pytest.raises(ModelError, match="is not signed"):
        registry.read_version(cohort, version)
