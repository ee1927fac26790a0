"""``python -m ops.cost``: what a deployment costs, from measured durations and list prices.

The prices are AWS's list prices for us-east-1 as they were known in :data:`PRICES_OF`, without free tiers, discounts
and taxes. They change: look at each before deciding by it. The options put in a deployment's own numbers, the defaults
are those of docs/cost-and-scale.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Final

from chalicelib.domain.predictions import Source
from chalicelib.metrics import METRICS

PRICES_OF: Final = "June 2025"

LAMBDA_GB_SECOND, LAMBDA_MILLION = 0.0000166667, 0.20
API_GATEWAY_MILLION = 3.50
SQS_FIFO_MILLION = 0.50
S3_PUT_THOUSAND, S3_GET_THOUSAND, S3_GB_MONTH = 0.005, 0.0004, 0.023
LOGS_GB, METRIC_MONTH, ALARM_MONTH, DASHBOARD_MONTH = 0.50, 0.30, 0.10, 3.00
SECRET_MONTH, ECR_GB_MONTH = 0.40, 0.10
FARGATE_CPU_HOUR, FARGATE_GB_HOUR = 0.04048, 0.004445
DATABASE_HOUR, DATABASE_GB_MONTH, PROXY_CPU_HOUR, NAT_HOUR = 0.065, 0.115, 0.015, 0.045

FULL_PROCESSOR_MB: Final = 1_769
"""Memory with which a Lambda has one processor; with less it has a share of one."""

HOURS: Final = 730
"""Of a month."""

ALARMS: Final = 10
"""Metrics that alarms of ``infra/alarms.yaml`` watch; one of them watches two."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured or assumed. Durations are of one processor, as the benchmarks print them."""

    create_ms: float = 3.3
    """``benchmarks.api``: handler of a creation, median."""
    complete_ms: float = 3.3
    """Handler of a completion, taken to be that of a creation: it has as many statements."""
    other_ms: float = 1.0
    """Handler of a list or a status."""
    other_requests: float = 3.0
    """Lists, status and pages for each completion, besides its creation and its completion."""
    round_trip_ms: float = 1.0
    """From the Lambda to the database and back, in one zone: two for each request."""
    cold_seconds: float = 0.6
    """``benchmarks.cold_start``: from the process's start to the first answer."""
    cold_share: float = 0.01
    """Requests that meet a cold start: with steady traffic less, with a request a quarter of an hour all."""
    api_memory_mb: int = 1_024
    """``ApiMemory``."""
    training_seconds: float = 7.0
    """``benchmarks.main_job``: from message to champion, with 679 answers."""
    training_start_seconds: float = 3.0
    """Loading TensorFlow, paid for by each training at worst."""
    training_memory_mb: int = 3_008
    """``TrainingMemory``."""
    completions_per_training: float = 5.0
    """``TrainingThreshold``, or more where trainings take longer than so many completions."""
    request_log_bytes: float = 650.0
    """A line with its metrics."""
    platform_log_bytes: float = 300.0
    """What Lambda says of each invocation."""
    training_log_bytes: float = 15_000.0
    """The lines of one training."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars of a part, for a completion or a month."""

    part: str
    usd: float


def of_completion(work: Workload) -> list[Cost]:
    """What one completion costs, with the requests and the share of a training that belong to it."""
    requests = 2 + work.other_requests
    slower = max(1.0, FULL_PROCESSOR_MB / work.api_memory_mb)
    handlers = [work.create_ms, work.complete_ms]
    billed: float = sum(ceil(ms * slower + 2 * work.round_trip_ms) for ms in handlers)
    billed += work.other_requests * ceil(work.other_ms * slower + 2 * work.round_trip_ms)
    cold = requests * work.cold_share * work.cold_seconds * 1_000 * slower
    api = (billed + cold) / 1_000 * work.api_memory_mb / 1_024 * LAMBDA_GB_SECOND + requests * LAMBDA_MILLION / 1e6
    trainings = 1 / work.completions_per_training
    seconds = work.training_seconds + work.training_start_seconds
    training = seconds * work.training_memory_mb / 1_024 * LAMBDA_GB_SECOND + LAMBDA_MILLION / 1e6
    # Send, receive, some heartbeats, delete.
    messages = 3 + ceil(seconds / 20)
    # A version's five files are written, annotated, and read back and compared; each warm process reads the new one.
    files = 7 * S3_PUT_THOUSAND / 1_000 + 30 * S3_GET_THOUSAND / 1_000
    logged = requests * (work.request_log_bytes + work.platform_log_bytes) + trainings * work.training_log_bytes
    return [
        Cost("API Gateway", requests * API_GATEWAY_MILLION / 1e6),
        Cost("Lambda of the API", api),
        Cost("Lambda of the training", trainings * training),
        Cost("SQS", trainings * messages * SQS_FIFO_MILLION / 1e6),
        Cost("S3 requests", trainings * files),
        Cost("CloudWatch Logs", logged / 1e9 * LOGS_GB),
    ]


def of_month() -> list[Cost]:
    """What a month costs whether anybody practises or not."""
    schedules = HOURS * 60 * 0.1 * 0.5 * LAMBDA_GB_SECOND
    metrics = len(METRICS) + len(Source) - 1  # one of them once for each source
    return [
        Cost("PostgreSQL, db.t4g.medium with 20 GB", DATABASE_HOUR * HOURS + 20 * DATABASE_GB_MONTH),
        Cost("RDS Proxy, if there is one (2 processors)", 2 * PROXY_CPU_HOUR * HOURS),
        Cost("NAT gateway, if the Lambdas are in a VPC", NAT_HOUR * HOURS),
        Cost(f"{metrics} metrics", metrics * METRIC_MONTH),
        Cost(f"Alarms on {ALARMS} metrics, dashboard", ALARMS * ALARM_MONTH + DASHBOARD_MONTH),
        Cost("Secret, image of 1 GB, models of 1 GB", SECRET_MONTH + ECR_GB_MONTH + S3_GB_MONTH),
        Cost("Schedules", schedules),
    ]


def of_training(work: Workload) -> list[Cost]:
    """One training on each of the two computes; ECS's task also runs the ten minutes until it is stopped."""
    seconds = work.training_seconds + work.training_start_seconds
    task = (seconds + 600) / 3_600 * (2 * FARGATE_CPU_HOUR + 4 * FARGATE_GB_HOUR)
    return [
        Cost("`lambda`, 3,008 MB", seconds * work.training_memory_mb / 1_024 * LAMBDA_GB_SECOND),
        Cost("`ecs`, 2 processors, 4 GB, alone", task),
        Cost("`ecs`, an hour of trainings", 2 * FARGATE_CPU_HOUR + 4 * FARGATE_GB_HOUR),
    ]


def report(work: Workload) -> str:
    """The three tables in Markdown."""
    completion = of_completion(work)
    lines = ["| a completion and what belongs to it | 1,000 | 1,000,000 |", "|---|--:|--:|"]
    total = Cost("**together**", sum(cost.usd for cost in completion))
    lines += [f"| {cost.part} | {_usd(cost.usd * 1e3)} | {_usd(cost.usd * 1e6)} |" for cost in [*completion, total]]
    for title, costs in (("a month, whoever practises", of_month()), ("one training", of_training(work))):
        lines += ["", f"| {title} | |", "|---|--:|"]
        lines += [f"| {cost.part} | {_usd(cost.usd)} |" for cost in costs]
    return "\n".join(lines)


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 0.1 else f"${amount:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables for a workload."""
    parser = argparse.ArgumentParser(prog="python -m ops.cost", description=f"Costs by list prices of {PRICES_OF}.")
    for field in fields(Workload):
        kind = int if isinstance(field.default, int) else float
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=kind, default=field.default, metavar="N", help=f"default {field.default}")
    print(report(Workload(**vars(parser.parse_args(arguments)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
