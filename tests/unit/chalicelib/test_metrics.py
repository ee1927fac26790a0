"""Metrics as fields of log lines: the format that CloudWatch reads, and what a request's line says of it."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from chalicelib import logs, metrics
from chalicelib.domain.predictions import Source
from chalicelib.domain.results import DriftRow
from chalicelib.domain.training import TrainingPolicy
from chalicelib.metrics import (
    CALIBRATION_ERROR,
    COMPLETIONS,
    COUNTER_OVER_THRESHOLD,
    METRICS,
    NAMESPACE,
    PREDICTION_LATENCY,
    PREDICTIONS,
    TRAINING_DURATION,
    TRAINING_TRIGGERS,
)
from chalicelib.services import watch
from tests.support.fakes.analytics import MemoryAnalyticsStore
from tests.support.fakes.database import MemoryDatabase, MemoryTracker
from tests.support.log_lines import logged


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """All that is logged, as JSON lines."""
    with logged() as stream:
        yield stream


def declared(fields: dict[str, Any]) -> dict[str, list[str]]:
    """Metric name to the dimensions that it is declared with."""
    directives = fields["_aws"]["CloudWatchMetrics"]
    return {metric["Name"]: directive["Dimensions"][0] for directive in directives for metric in directive["Metrics"]}


def test_a_metric_is_declared_as_powertools_declares_it() -> None:
    provider = AmazonCloudWatchEMFProvider(namespace=NAMESPACE)
    provider.add_metric(PREDICTIONS.name, PREDICTIONS.unit, 1)
    provider.add_dimension("stack", "local")
    provider.add_dimension("source", "lnirt")
    theirs: dict[str, Any] = dict(provider.serialize_metric_set())
    ours: dict[str, Any] = {**metrics.fields({PREDICTIONS: 1}), "source": "lnirt"}
    assert ours["_aws"]["CloudWatchMetrics"] == theirs["_aws"]["CloudWatchMetrics"]
    assert (ours["source"], ours["Predictions"]) == (theirs["source"], theirs["Predictions"][0])
    assert abs(ours["_aws"]["Timestamp"] - theirs["_aws"]["Timestamp"]) < 60_000


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_every_metric_is_declared_under_its_name_unit_and_dimensions(metric: metrics.Metric) -> None:
    fields = metrics.fields({metric: 3.5})
    (directive,) = fields["_aws"]["CloudWatchMetrics"]
    assert directive == {
        "Namespace": "StudySmart",
        "Dimensions": [["stack", *metric.dimensions]],
        "Metrics": [{"Name": metric.name, "Unit": metric.unit}],
    }
    assert fields[metric.name] == 3.5


def test_no_values_make_no_metrics() -> None:
    assert metrics.fields({}) == {}


def test_a_prediction_counts_by_its_source_and_with_its_latency() -> None:
    fields = metrics.of_request({"source": "lnirt"}, 201, 4.2)
    assert declared(fields) == {
        "Predictions": ["stack", "source"],
        "FallbackRate": ["stack"],
        "PredictionLatency": ["stack"],
    }
    assert (fields["source"], fields["FallbackRate"], fields["PredictionLatency"]) == ("lnirt", 0, 4.2)
    assert metrics.of_request({"source": "default"}, 201, 4.2)["FallbackRate"] == 1


def test_a_prediction_that_was_not_answered_with_does_not_count() -> None:
    fields = metrics.of_request({"source": "lnirt"}, 503, 4.2)
    assert "_aws" not in fields
    assert (fields["status"], fields["duration_ms"]) == (503, 4.2)


def test_a_completion_counts_even_when_the_request_failed_after_it() -> None:
    fields = metrics.of_request({"counter": 5, "threshold": 5, "training_request_id": "r"}, 500, 2.0)
    assert declared(fields) == {name: ["stack"] for name in ("Completions", "CompletionLatency", "TrainingTriggers")}
    assert fields[TRAINING_TRIGGERS.name] == fields[COMPLETIONS.name] == 1


def test_notes_are_of_one_request_only_and_nothing_without_one() -> None:
    logs.note(source="lnirt")
    with logs.request("a") as first:
        logs.note(source="embedding", counter=1)
    with logs.request("b") as second:
        pass
    assert first == {"source": "embedding", "counter": 1}
    assert second == {}


def test_threads_write_their_own_metrics_in_whole_lines(lines: io.StringIO) -> None:
    n_threads, n_lines = 8, 50
    start = threading.Barrier(n_threads)

    def work(number: int) -> None:
        start.wait()
        for turn in range(n_lines):
            with logs.request(f"{number}-{turn}") as noted:
                logs.note(source=("embedding", "lnirt")[number % 2], counter=turn)
                extra = metrics.of_request(noted, 200, float(number))
                logging.getLogger("studysmart.api").info("line", extra=extra)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert len(written) == n_threads * n_lines
    for line in written:
        number, turn = map(int, line["request_id"].split("-"))
        assert (line["source"], line["counter"]) == (("embedding", "lnirt")[number % 2], turn)
        assert line[PREDICTION_LATENCY.name] == number


def test_text_lines_show_no_metrics() -> None:
    with logged("text") as stream:
        logging.getLogger("studysmart.worker").info("done", extra=metrics.fields({TRAINING_DURATION: 7.0}))
    assert stream.getvalue().endswith("INFO studysmart.worker: done\n")


def watched(tracker: MemoryTracker, store: Any, lines: io.StringIO) -> dict[str, Any]:
    watch.watch(tracker, "default", lambda _: store, TrainingPolicy(5, 10), 0.0)
    return dict(json.loads(lines.getvalue().splitlines()[-1]))


class Drift(MemoryAnalyticsStore):
    """Newest completions that a model predicted at 0.9 and of which half were right."""

    def __init__(self, n: int) -> None:
        super().__init__(MemoryDatabase())
        self.n = n

    def drift(self, limit: int, window: int, n_bins: int) -> list[DriftRow]:
        now, n = datetime.now(UTC), min(self.n, limit)
        return [DriftRow(0, Source.LNIRT, 9, n, 0.9 * n, n // 2, 0.41 * n, 0, 0.0, now, now)] if n else []


def test_the_watch_says_how_far_the_newest_predictions_are_off(lines: io.StringIO) -> None:
    line = watched(MemoryTracker(MemoryDatabase()), Drift(1_000), lines)
    assert line[CALIBRATION_ERROR.name] == pytest.approx(0.4)
    assert (line["judged"], line["logger"]) == (1_000, watch.LOGGER)


def test_few_predictions_are_told_and_are_no_metric(lines: io.StringIO) -> None:
    line = watched(MemoryTracker(MemoryDatabase()), Drift(watch.MINIMUM_PREDICTIONS - 1), lines)
    assert CALIBRATION_ERROR.name not in line
    assert line["calibration_error"] == pytest.approx(0.4, abs=0.01)


def test_without_completions_the_watch_says_that_nothing_waits(lines: io.StringIO) -> None:
    line = watched(MemoryTracker(MemoryDatabase()), Drift(0), lines)
    assert line[COUNTER_OVER_THRESHOLD.name] == 0
    assert declared(line) == {COUNTER_OVER_THRESHOLD.name: ["stack"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 7),
        ({"n_samples_since_training": 4}, 0),
        ({"n_samples_total": 9}, 0),
        ({"training_request_id": "r"}, 7),
        ({"training_request_id": "r", "lease_live": True}, 0),
        ({"next_training_at": datetime.now(UTC)}, 0),
    ],
    ids=["full", "not full", "too few samples", "queued", "running", "waiting"],
)
def test_a_full_counter_counts_while_nothing_trains(changes: dict[str, Any], expected: int) -> None:
    full = MemoryDatabase().change_tracker("default", n_samples_since_training=7, n_samples_total=12)
    row = msgspec.structs.replace(full, **changes)
    assert watch.completions_over_threshold(row, TrainingPolicy(5, 10)) == expected
