"""The load of a deployment with 10,000 to 10,000,000 students a day, and what becomes too small first.

``python -m benchmarks.capacity --json`` simulates a day, minute by minute, from the costs of single operations in
:data:`UNITS`, and the trainings of all cohorts as a queue. It prints the table of ``docs/cost-and-scale.md``, and one
JSON object as the last line. Nothing is measured here: the units are results of other benchmarks, and :data:`LIMITS`
are those of AWS and of the template. ``--unit NAME=VALUE`` and ``--limit NAME=VALUE`` replace them.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.costs import PRICES, QUANTITIES, seconds_of_answers

STUDENTS: Final = (10_000, 100_000, 1_000_000, 10_000_000)

UNITS: Final = {
    "answers": 20.0,  # of a student a day
    "days": 30.0,  # of practice before the simulated day; a training reads all answers
    "cohort": 1_000.0,  # students that share a model
    "max_answers": QUANTITIES["max_answers"],  # that a training reads
    "max_network_answers": QUANTITIES["max_network_answers"],  # that its networks learn from
    "requests": QUANTITIES["requests"] + QUANTITIES["polls"],  # for an answer
    "request_seconds": (QUANTITIES["api_seconds"] + QUANTITIES["polls"] * QUANTITIES["poll_seconds"]) / 7,
    "writes": 7.0,  # rows for an answer: account, task twice, state, usage, counter, limit
    "database_ms": 2.3,  # of a processor: creation 0.65, completion 0.84, the reads 0.58, two polls 0.26
    "commit_ms": 5.0,
    "counter_shards": 32.0,
    "training_start_seconds": 10.0,
    "seconds_per_answer": QUANTITIES["seconds_per_answer"],
    "seconds_per_network_answer": QUANTITIES["seconds_per_network_answer"],
    "training_kb_per_answer": 0.37,
    "training_kb_per_network_answer": 2.2,
    "duty": 0.25,
}

LIMITS: Final = {
    "requests per second": 10_000.0,  # of API Gateway in an account
    "Lambda concurrency": 1_000.0,  # of an account, before AWS raises it
    "database connections": 5_000.0,  # of the largest instances
    "database processors": 64.0,  # of db.r7g.16xlarge, of which 70 % should be used
    "training memory, GB": 16.0,  # of TrainingTaskMemory
    "training tasks": 20.0,  # of MaxTrainingTasks
}

_DATABASE_HOURLY: Final = 0.119
"""Dollars of a processor of db.r7g for an hour, with its memory."""

_MINUTES: Final = 24 * 60


def of_day(minute: int) -> float:
    """Return the part of a day's answers in a minute: two peaks, at 10:00 and 17:00, and few at night."""
    peaks = sum(math.exp(-(((minute / 60 - hour) / 2.5) ** 2) / 2) for hour in (10.0, 17.0))
    return peaks + 0.03


_SUM: Final = sum(map(of_day, range(_MINUTES)))


def simulate(students: int) -> dict[str, Any]:
    """Return the load of the busiest minute, the state of the trainings, and the dollars of a day."""
    unit = UNITS
    answers = students * unit["answers"]
    rates = [answers * of_day(minute) / _SUM / 60 for minute in range(_MINUTES)]
    peak = max(rates)
    busy = peak * unit["requests"] * unit["request_seconds"]
    concurrency = math.ceil(busy + 4 * math.sqrt(busy) + 1)  # arrivals are random: 4 standard deviations above
    processors = peak * unit["database_ms"] / 1_000
    trainings = train(students)
    need = {
        "requests per second": peak * unit["requests"],
        "Lambda concurrency": concurrency,
        "database connections": concurrency,  # each has one
        "database processors": processors / 0.7,
        "training memory, GB": trainings["memory_gb"],
        "training tasks": trainings["tasks_needed"],
    }
    use = {name: need[name] / limit for name, limit in LIMITS.items()}
    first, second = sorted(use, key=lambda name: use[name], reverse=True)[:2]
    return {
        "students": students,
        "answers_per_second": round(peak, 1),
        "requests_per_second": round(need["requests per second"]),
        "lambda_concurrency": concurrency,
        "database_connections": concurrency,
        "database_writes_per_second": round(peak * unit["writes"]),
        "database_processors": round(need["database processors"], 1),
        "counter_use": round(counter_use(peak, students), 5),
        **trainings,
        "dollars_a_day": round(dollars(answers, need["database processors"], trainings), 2),
        "first_limit": first,
        "first_limit_use": round(use[first], 2),
        "second_limit": second,
        "second_limit_use": round(use[second], 2),
    }


def counter_use(peak: float, students: int) -> float:
    """Return the part of the completions that the counter of one cohort can take in the busiest minute."""
    of_cohort = peak * min(UNITS["cohort"], students) / students
    return of_cohort / (UNITS["counter_shards"] * 1_000 / UNITS["commit_ms"])


def train(students: int) -> dict[str, Any]:
    """Simulate a day of all cohorts' trainings as a queue for ``training tasks`` workers, first come first served."""
    unit = UNITS
    size = min(unit["cohort"], students)
    answers = size * unit["answers"] * unit["days"]
    learnt, by_networks = min(answers, unit["max_answers"]), min(answers, unit["max_network_answers"])
    seconds = unit["training_start_seconds"] + seconds_of_answers(answers, unit)
    kilobytes = learnt * unit["training_kb_per_answer"] + by_networks * unit["training_kb_per_network_answer"]
    wait, n_cohorts = seconds * (1 / unit["duty"] - 1), math.ceil(students / size)
    needed = n_cohorts * seconds / (seconds + wait)
    workers = [0.0] * int(min(LIMITS["training tasks"], n_cohorts))
    due = [seconds * 4 * i / n_cohorts for i in range(n_cohorts)]
    heapq.heapify(due)
    delays, begun_today = [], 0
    while due[0] < _MINUTES * 60:
        requested = heapq.heappop(due)
        begun = max(requested, heapq.heappop(workers))
        heapq.heappush(workers, begun + seconds)
        heapq.heappush(due, begun + seconds + wait)
        delays.append(begun - requested)
        begun_today += begun < _MINUTES * 60
    delay = max(delays)
    return {
        "cohorts": n_cohorts,
        "training_seconds": round(seconds),
        "memory_gb": round(0.6 + kilobytes / 1e6, 1),
        "tasks_needed": math.ceil(needed),
        "trainings_a_day": begun_today,
        "queue_seconds": round(delay),
        "model_age_minutes": round((seconds + wait + delay + seconds) / 60),
    }


def dollars(answers: float, processors: float, trainings: Mapping[str, Any]) -> float:
    """Return the dollars of a day for requests, the database and trainings in ECS, without Cognito and storage."""
    price = PRICES
    request = price["api_gateway_request"] + price["lambda_request"] + QUANTITIES["log_bytes"] * price["log_gb"] / 1e9
    request += UNITS["request_seconds"] * price["lambda_gb_second"]
    hours = min(trainings["trainings_a_day"] * trainings["training_seconds"] / 3_600, 24 * LIMITS["training tasks"])
    task = 2 * price["fargate_cpu_hour"] + max(4, math.ceil(trainings["memory_gb"])) * price["fargate_gb_hour"]
    database = max(2, processors) * _DATABASE_HOURLY * 24
    return float(answers * UNITS["requests"] * request + database + hours * task)


ROWS: Final = {
    "answers per second in the busiest minute": "answers_per_second",
    "requests per second": "requests_per_second",
    "Lambda concurrency, and database connections": "lambda_concurrency",
    "rows written per second": "database_writes_per_second",
    "processors of the database": "database_processors",
    "cohorts": "cohorts",
    "seconds of a training": "training_seconds",
    "memory of a training, GB": "memory_gb",
    "training tasks": "tasks_needed",
    "longest wait of a training in the queue, seconds": "queue_seconds",
    "largest age of a model, minutes": "model_age_minutes",
    "dollars a day": "dollars_a_day",
    "reaches its limit first": "first_limit",
    "load as a multiple of that limit": "first_limit_use",
    "reaches its limit next": "second_limit",
    "load as a multiple of this limit": "second_limit_use",
}


def table() -> str:
    """Return the simulated days as Markdown."""
    days = [simulate(students) for students in STUDENTS]
    head = " | ".join(f"{students:,}" for students in STUDENTS)
    lines = [f"| students a day | {head} |", f"|---|{'--:|' * len(STUDENTS)}"]
    for title, name in ROWS.items():
        cells = [day[name] if isinstance(day[name], str) else f"{day[name]:,}" for day in days]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument(
        "--unit", action="append", default=[], metavar="NAME=VALUE", help="another cost of an operation"
    )
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE", help="another limit")
    parser.add_argument("--json", action="store_true", help="print the days as JSON, in the last line")
    options = parser.parse_args(arguments)
    for known, pairs in ((UNITS, options.unit), (LIMITS, options.limit)):
        for pair in pairs:
            name, _, value = pair.partition("=")
            if name not in known:
                parser.error(f"{name!r} is none of {', '.join(known)}")
            try:
                known[name] = float(value)
            except ValueError:
                parser.error(f"{name}: {value!r} is not a number")
    print(table())
    if options.json:
        print(json.dumps({str(students): simulate(students) for students in STUDENTS}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
