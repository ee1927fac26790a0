"""The cost of a deployment by AWS's list prices: for a completion, and for a month with many students.

``python -m benchmarks.costs --json`` prints the tables of ``docs/cost-and-scale.md``, and one JSON object as the last
line. Nothing is measured here: :data:`QUANTITIES` are the results of other benchmarks, :data:`PRICES` are those of
us-east-1 without free tiers. A test compares the document with the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

HOURS: Final = 730
"""Hours of a month, as AWS counts them."""

PRICES: Final = {
    "api_gateway_request": 3.50e-6,
    "lambda_request": 0.20e-6,
    "lambda_gb_second": 0.0000166667,
    "fargate_cpu_hour": 0.04048,
    "fargate_gb_hour": 0.004445,
    "sqs_message": 0.50e-6,
    "s3_put": 5e-6,
    "s3_get": 0.4e-6,
    "log_gb": 0.50,
    "nat_hour": 0.045,
    "endpoint_hour": 0.010,
    "metric": 0.30,
    "alarm_metric": 0.10,
    "dashboard": 3.00,
    "storage_gb": 0.115,
    "cognito_lite": 0.0055,
    "cognito_essentials": 0.015,
}
"""Dollars as of June 2025."""

QUANTITIES: Final = {
    "requests": 5,  # a creation, a completion, three reads
    "polls": 2,  # of the status, in a minute with a page open
    "api_seconds": 0.080,
    "poll_seconds": 0.004,
    "training_seconds": 10,
    "seconds_per_answer": 9e-6,  # of a training with many answers
    "seconds_per_network_answer": 146e-6,  # in addition, if the networks learn from it
    "max_answers": 2_000_000,  # that a training learns from
    "max_network_answers": 250_000,  # that its networks learn from
    "training_gb": 3_008 / 1_024,
    "completions_per_training": 5,
    "log_bytes": 950,  # of a request
    "training_log_bytes": 15_000,
    "completions_per_student": 100,
    "metrics": 12,
    "alarm_metrics": 21,
}

DATABASES: Final = {1_000: (0.065, 20), 10_000: (0.168, 100), 100_000: (0.337, 500)}
"""Price of an hour and gigabytes by monthly students: db.t4g.medium, db.m7g.large and db.m7g.xlarge."""


def completion() -> dict[str, float]:
    """Return the dollars of one completion by part, with its requests and its share of a training."""
    price, n = PRICES, QUANTITIES
    requests = n["requests"] + n["polls"]
    seconds = n["api_seconds"] + n["polls"] * n["poll_seconds"]
    per_training = 1 / n["completions_per_training"]
    training = n["training_seconds"] * n["training_gb"] * price["lambda_gb_second"] + price["lambda_request"]
    log_bytes = requests * n["log_bytes"] + n["training_log_bytes"] * per_training
    return {
        "API Gateway": requests * price["api_gateway_request"],
        "Lambda of the API": requests * price["lambda_request"] + seconds * price["lambda_gb_second"],
        "Lambda of the training": training * per_training,
        "SQS": 4 * price["sqs_message"] * per_training,
        "S3 requests": (7 * price["s3_put"] + 30 * price["s3_get"]) * per_training,
        "CloudWatch Logs": log_bytes * price["log_gb"] / 1e9,
    }


def continuous_training(compute: str) -> float:
    """Return the dollars of a month in which a cohort trains without a pause, the most that it can."""
    if compute == "ecs":
        return HOURS * (2 * PRICES["fargate_cpu_hour"] + 4 * PRICES["fargate_gb_hour"])
    return HOURS * 3_600 * QUANTITIES["training_gb"] * PRICES["lambda_gb_second"]


def seconds_of_answers(n: float, unit: Mapping[str, float] = QUANTITIES) -> float:
    """Return the seconds that a training of a cohort with ``n`` answers takes for them."""
    learnt, by_networks = min(n, unit["max_answers"]), min(n, unit["max_network_answers"])
    return learnt * unit["seconds_per_answer"] + by_networks * unit["seconds_per_network_answer"]


def month(students: int) -> dict[str, float]:
    """Return the dollars of a month by part."""
    n = students * QUANTITIES["completions_per_student"]
    parts = completion()
    hourly, gigabytes = DATABASES[students]
    polls = QUANTITIES["polls"] * (
        PRICES["api_gateway_request"]
        + PRICES["lambda_request"]
        + QUANTITIES["poll_seconds"] * PRICES["lambda_gb_second"]
        + QUANTITIES["log_bytes"] * PRICES["log_gb"] / 1e9
    )
    requests = parts["API Gateway"] + parts["Lambda of the API"] + parts["CloudWatch Logs"] - polls
    longer = max(1.0, seconds_of_answers(n) / QUANTITIES["training_seconds"])
    by_count = parts["Lambda of the training"] * n * longer
    trained = min(by_count, continuous_training("lambda"))
    return {
        "requests of students, with their log": n * requests,
        "polling of the status": n * polls,
        "trainings": trained,
        "SQS and S3": n * (parts["SQS"] + parts["S3 requests"]) * trained / by_count,
        "Cognito, `LITE`": students * PRICES["cognito_lite"],
        "PostgreSQL": hourly * HOURS + gigabytes * PRICES["storage_gb"],
        "NAT gateway": HOURS * PRICES["nat_hour"],
        "metrics, alarms, dashboard": QUANTITIES["metrics"] * PRICES["metric"]
        + QUANTITIES["alarm_metrics"] * PRICES["alarm_metric"]
        + PRICES["dashboard"],
    }


def completion_table() -> str:
    """Return the costs of completions as Markdown."""
    rows = {**completion(), "**sum**": sum(completion().values())}
    lines = [f"| {part} | ${cost * 1e3:,.4f} | ${cost * 1e6:,.2f} |" for part, cost in rows.items()]
    return "\n".join(["| part | per 1,000 | per 1,000,000 |", "|---|--:|--:|", *lines])


def month_table() -> str:
    """Return the costs of months as Markdown."""
    months = {students: month(students) for students in DATABASES}
    rows = {part: [costs[part] for costs in months.values()] for part in months[1_000]}
    rows["**sum**"] = [sum(costs.values()) for costs in months.values()]
    lines = [f"| {part} | {' | '.join(f'${cost:,.2f}' for cost in costs)} |" for part, costs in rows.items()]
    head = " | ".join(f"{students:,}" for students in months)
    return "\n".join([f"| part | {head} |", "|---|--:|--:|--:|", *lines])


def result() -> Mapping[str, Any]:
    """Return all sums as one object."""
    return {
        "per_completion": sum(completion().values()),
        "per_month": {str(students): round(sum(month(students).values()), 2) for students in DATABASES},
        "continuous_training": {compute: round(continuous_training(compute), 2) for compute in ("lambda", "ecs")},
    }


def _price(text: str) -> tuple[str, float]:
    name, _, dollars = text.partition("=")
    if name not in PRICES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PRICES)}")
    try:
        return name, float(dollars)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{dollars!r} is not a number of dollars") from error


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument(
        "--price",
        type=_price,
        action="append",
        default=[],
        metavar="NAME=DOLLARS",
        help="another price, such as nat_hour=0.052",
    )
    parser.add_argument("--json", action="store_true", help="print the sums as JSON, in the last line")
    options = parser.parse_args(arguments)
    PRICES.update(options.price)
    print(f"{completion_table()}\n\n{month_table()}")
    if options.json:
        print(json.dumps(result()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
