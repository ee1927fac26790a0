"""Queries over the log groups of a deployment, by CloudWatch Logs Insights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chalicelib.domain.errors import LogsUnavailableError
from chalicelib.storage.aws import translated

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import ResultFieldTypeDef

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 120.0


class LogInsights:
    """Finds the log groups of a stack and runs queries over them."""

    def __init__(self, client: CloudWatchLogsClient, look_seconds: float = _LOOK_SECONDS) -> None:
        self._logs = client
        self._look_seconds = look_seconds

    def groups(self, stack: str, programs: Sequence[str]) -> list[str]:
        """The names of the programs' log groups, as CloudFormation makes them of stack and resource.

        Raises LogsUnavailableError when one is missing or CloudWatch does not answer.
        """
        found = []
        for program in programs:
            prefix = f"{stack}-{program}LogGroup-"
            with translated(LogsUnavailableError, "asking for log groups"):
                answer = self._logs.describe_log_groups(logGroupNamePrefix=prefix, limit=1)
            names = [group["logGroupName"] for group in answer["logGroups"]]
            if not names:
                raise LogsUnavailableError(f"there is no log group {prefix}…: is {stack} the name of the stack?")
            found += names
        return found

    def run(self, text: str, groups: Sequence[str], since: float, until: float) -> list[dict[str, str]]:
        """The rows of a query over lines from ``since`` to ``until``, in seconds since the epoch, as CloudWatch's text.

        Raises LogsUnavailableError when it fails, or is not done within two minutes.
        """
        with translated(LogsUnavailableError, "querying the log"):
            query_id = self._logs.start_query(
                logGroupNames=list(groups), startTime=int(since), endTime=int(until) + 1, queryString=text
            )["queryId"]
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while (answer := self._logs.get_query_results(queryId=query_id))["status"] in ("Scheduled", "Running"):
                if time.monotonic() > deadline:
                    self._logs.stop_query(queryId=query_id)
                    raise LogsUnavailableError(f"the query was not done within {_PATIENCE_SECONDS:.0f} s")
                time.sleep(self._look_seconds)
        if answer["status"] != "Complete":
            raise LogsUnavailableError(f"the query ended as {answer['status']}")
        return [_row(fields) for fields in answer["results"]]


def _row(fields: Sequence[ResultFieldTypeDef]) -> dict[str, str]:
    # @ptr is CloudWatch's own address of the line.
    return {field["field"]: field["value"] for field in fields if field["field"] != "@ptr"}
