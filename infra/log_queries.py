"""The named queries over the log: each has a question, and a text in two languages.

``insights`` is for CloudWatch Logs Insights; :mod:`infra.package.template` saves it there. ``sql`` is
for the log of the one-machine stack, which has the same lines. Its view ``lines`` has a column for each field of
:data:`COLUMNS`. Both give columns of the same names: one test runs the SQL on the lines of a real run, and another
compares the columns of the Insights text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

API, SWEEPER, PRUNER, TRAINING = "Api", "Sweeper", "Pruner", "Training"
"""The programs. The template names their log groups ``<program>LogGroup``."""

EVERYWHERE: Final = (API, SWEEPER, PRUNER, TRAINING)

IDS: Final = "__IDS__"
"""The place of the ids in the Insights text of a query. In its SQL they are the list ``$ids``."""

_TEXTS = (
    "level logger message request_id user_id cohort version route source fallback_reason reason training"
    " training_request_id next_request_id outcome champion exception_name"
)
_NUMBERS = (
    "duration_ms calibration_error error_by_chance fallback_rate FallbackRate TrainingDuration CalibrationError"
    " holdout_log_loss holdout_auc holdout_ece holdout_log_time_rmse holdout_coverage80"
)
_COUNTS = (
    "status counter threshold newest judged n_samples holdout_n Predictions Completions TrainingTriggers"
    " TrainingFailures CounterOverThreshold"
)
COLUMNS: Final = {
    "timestamp": "TIMESTAMPTZ",
    "promoted": "BOOLEAN",
    **dict.fromkeys(_TEXTS.split(), "VARCHAR"),
    **dict.fromkeys(_NUMBERS.split(), "DOUBLE"),
    **dict.fromkeys(_COUNTS.split(), "BIGINT"),
}
"""The fields of log lines that queries use, with DuckDB's types."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A named query. On AWS it reads the lines of ``programs``."""

    name: str
    question: str
    programs: tuple[str, ...]
    insights: str
    sql: str

    @property
    def needs_ids(self) -> bool:
        """True for a query about certain ids."""
        return IDS in self.insights


QUERIES: Final = (
    LogQuery(
        "predictions",
        "How many predictions came from each source, and how long did their requests take?",
        (API,),
        insights="""
            filter ispresent(Predictions)
            | stats count(*) as predictions, pct(duration_ms, 50) as p50_ms, pct(duration_ms, 99) as p99_ms
                by source, version
            | sort predictions desc
        """,
        sql="""
            SELECT source, version, count(*) AS predictions, quantile_cont(duration_ms, 0.5) AS p50_ms,
                   quantile_cont(duration_ms, 0.99) AS p99_ms
            FROM lines WHERE Predictions IS NOT NULL GROUP BY source, version ORDER BY predictions DESC
        """,
    ),
    LogQuery(
        "fallbacks",
        "What share of an hour's predictions did not come from the networks, and why?",
        (API,),
        insights="""
            filter ispresent(Predictions)
            | fields coalesce(fallback_reason, "none") as why
            | fields strcontains(why, "no model") as is_no_model, strcontains(why, "new student") as is_new_student,
                strcontains(why, "new topic") as is_new_topic, strcontains(why, "all new") as is_all_new,
                strcontains(why, "networks failed") as is_failed
            | stats count(*) as predictions, avg(is_no_model) as no_model, avg(is_new_student) as new_student,
                avg(is_new_topic) as new_topic, avg(is_all_new) as all_new, avg(is_failed) as networks_failed
                by bin(1h) as hour
            | sort hour desc
        """,
        sql="""
            SELECT date_trunc('hour', timestamp) AS hour, count(*) AS predictions,
                   avg((why = 'no model')::INT) AS no_model, avg((why = 'new student')::INT) AS new_student,
                   avg((why = 'new topic')::INT) AS new_topic, avg((why = 'all new')::INT) AS all_new,
                   avg((why = 'networks failed')::INT) AS networks_failed
            FROM (SELECT *, coalesce(fallback_reason, 'none') AS why FROM lines WHERE Predictions IS NOT NULL)
            GROUP BY hour ORDER BY hour DESC
        """,
    ),
    LogQuery(
        "completions",
        "How many completions were counted in an hour, how many triggered a training, and how long did they take?",
        (API,),
        insights="""
            filter ispresent(Completions)
            | stats sum(Completions) as completions, sum(TrainingTriggers) as triggers,
                pct(duration_ms, 50) as p50_ms, pct(duration_ms, 99) as p99_ms by bin(1h) as hour
            | sort hour desc
        """,
        sql="""
            SELECT date_trunc('hour', timestamp) AS hour, sum(Completions)::BIGINT AS completions,
                   sum(coalesce(TrainingTriggers, 0))::BIGINT AS triggers,
                   quantile_cont(duration_ms, 0.5) AS p50_ms, quantile_cont(duration_ms, 0.99) AS p99_ms
            FROM lines WHERE Completions IS NOT NULL GROUP BY hour ORDER BY hour DESC
        """,
    ),
    LogQuery(
        "triggers",
        "Which trainings were requested, when, and by which request?",
        (API, TRAINING),
        insights="""
            filter ispresent(TrainingTriggers)
            | fields @timestamp as time, coalesce(next_request_id, training_request_id) as training, request_id, reason,
                counter
            | sort @timestamp desc
            | limit 50
            | display time, training, request_id, reason, counter
        """,
        sql="""
            SELECT timestamp AS time, coalesce(next_request_id, training_request_id) AS training, request_id, reason,
                   counter
            FROM lines WHERE TrainingTriggers IS NOT NULL ORDER BY time DESC LIMIT 50
        """,
    ),
    LogQuery(
        "trainings",
        "How did each training end, and which version served after it?",
        (TRAINING,),
        insights="""
            filter ispresent(outcome)
            | fields @timestamp as time, training_request_id as training, outcome, TrainingDuration as seconds,
                n_samples, champion, message
            | sort @timestamp desc
            | limit 50
            | display time, training, outcome, seconds, n_samples, champion, message
        """,
        sql="""
            SELECT timestamp AS time, training_request_id AS training, outcome, TrainingDuration AS seconds, n_samples,
                   champion, message
            FROM lines WHERE outcome IS NOT NULL ORDER BY time DESC LIMIT 50
        """,
    ),
    LogQuery(
        "training-durations",
        "How long did the trainings of a day take?",
        (TRAINING,),
        insights="""
            filter ispresent(TrainingDuration)
            | stats count(*) as trainings, pct(TrainingDuration, 50) as p50_seconds,
                max(TrainingDuration) as max_seconds, max(n_samples) as samples by bin(1d) as day
            | sort day desc
        """,
        sql="""
            SELECT date_trunc('day', timestamp) AS day, count(*) AS trainings,
                   quantile_cont(TrainingDuration, 0.5) AS p50_seconds, max(TrainingDuration) AS max_seconds,
                   max(n_samples) AS samples
            FROM lines WHERE TrainingDuration IS NOT NULL GROUP BY day ORDER BY day DESC
        """,
    ),
    LogQuery(
        "versions",
        "How good was each version on held-out answers, and was it promoted?",
        (TRAINING,),
        insights="""
            filter ispresent(promoted)
            | fields @timestamp as time, version, promoted, holdout_n as n, holdout_auc as auc,
                holdout_log_loss as log_loss, holdout_ece as ece, holdout_log_time_rmse as log_time_rmse,
                training_request_id as training
            | sort @timestamp desc
            | limit 50
            | display time, version, promoted, n, auc, log_loss, ece, log_time_rmse, training
        """,
        sql="""
            SELECT timestamp AS time, version, promoted, holdout_n AS n, holdout_auc AS auc,
                   holdout_log_loss AS log_loss, holdout_ece AS ece, holdout_log_time_rmse AS log_time_rmse,
                   training_request_id AS training
            FROM lines WHERE promoted IS NOT NULL ORDER BY time DESC LIMIT 50
        """,
    ),
    LogQuery(
        "calibration",
        "How far were the newest 1,000 completions from their predictions, and is a training overdue?",
        (SWEEPER,),
        insights="""
            filter logger = "studysmart.watch"
            | stats avg(calibration_error) as error, avg(error_by_chance) as by_chance, max(judged) as predictions,
                avg(fallback_rate) as fallbacks, max(CounterOverThreshold) as counter_over_threshold by bin(1h) as hour
            | sort hour desc
        """,
        sql="""
            SELECT date_trunc('hour', timestamp) AS hour, avg(calibration_error) AS error,
                   avg(error_by_chance) AS by_chance, max(judged) AS predictions, avg(fallback_rate) AS fallbacks,
                   max(CounterOverThreshold) AS counter_over_threshold
            FROM lines WHERE logger = 'studysmart.watch' GROUP BY hour ORDER BY hour DESC
        """,
    ),
    LogQuery(
        "requests",
        "How many requests did each route get, how many failed, and how long did they take?",
        (API,),
        insights="""
            filter ispresent(duration_ms)
            | fields floor(status / 500) as is_failed
            | stats count(*) as requests, sum(is_failed) as failed, pct(duration_ms, 50) as p50_ms,
                pct(duration_ms, 99) as p99_ms by route
            | sort requests desc
        """,
        sql="""
            SELECT route, count(*) AS requests, sum(status // 500)::BIGINT AS failed,
                   quantile_cont(duration_ms, 0.5) AS p50_ms, quantile_cont(duration_ms, 0.99) AS p99_ms
            FROM lines WHERE duration_ms IS NOT NULL GROUP BY route ORDER BY requests DESC
        """,
    ),
    LogQuery(
        "slowest",
        "Which requests took longest?",
        (API,),
        insights="""
            filter ispresent(duration_ms)
            | fields @timestamp as time, route, status, duration_ms, source, version, request_id
            | sort duration_ms desc
            | limit 25
            | display time, route, status, duration_ms, source, version, request_id
        """,
        sql="""
            SELECT timestamp AS time, route, status, duration_ms, source, version, request_id
            FROM lines WHERE duration_ms IS NOT NULL ORDER BY duration_ms DESC LIMIT 25
        """,
    ),
    LogQuery(
        "errors",
        "Which errors happened, newest first?",
        EVERYWHERE,
        insights="""
            filter level = "ERROR" or status >= 500 or @message like /Task timed out|Runtime exited|ImportModuleError/
            | fields @timestamp as time, logger, coalesce(message, @message) as what, exception_name, request_id,
                training_request_id as training
            | sort @timestamp desc
            | limit 50
            | display time, logger, what, exception_name, request_id, training
        """,
        sql="""
            SELECT timestamp AS time, logger, message AS what, exception_name, request_id,
                   training_request_id AS training
            FROM lines WHERE level = 'ERROR' OR status >= 500 ORDER BY time DESC LIMIT 50
        """,
    ),
    LogQuery(
        "trace",
        "Which lines belong to a request and to the training that it triggered?",
        EVERYWHERE,
        insights=f"""
            filter request_id in [{IDS}] or training_request_id in [{IDS}]
            | fields @timestamp as time, logger, level, message, request_id, training_request_id as training, version
            | sort @timestamp asc
            | limit 1000
            | display time, logger, level, message, request_id, training, version
        """,
        sql="""
            SELECT timestamp AS time, logger, level, message, request_id, training_request_id AS training, version
            FROM lines WHERE list_contains($ids, request_id) OR list_contains($ids, training_request_id)
            ORDER BY time LIMIT 1000
        """,
    ),
)

BY_NAME: Final = {query.name: query for query in QUERIES}


def text_of(query: LogQuery, ids: list[str]) -> str:
    """Return the Insights text with the ids in place. Raises ValueError for a malformed id."""
    if not all(one.replace("-", "").replace(" ", "").isalnum() for one in ids):
        raise ValueError("an id consists of letters, digits and hyphens")
    lines = (line.strip() for line in query.insights.strip().splitlines())
    return "\n".join(lines).replace(IDS, ", ".join(f'"{one}"' for one in ids))
