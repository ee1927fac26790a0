"""Queries over the log groups of a deployment, by CloudWatch Logs Insights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chalicelib.domain.errors import LogsUnavailableError
from chalicelib.storage.aws import translated

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 120.0


class LogInsights:
    """The log groups of a stack, and queries over them. Every method raises LogsUnavailableError."""

    def __init__(self, client: CloudWatchLogsClient, poll_seconds: float = _POLL_SECONDS) -> None:
        self._logs = client
        self._poll_seconds = poll_seconds

    def groups(self, stack: str, programs: Sequence[str]) -> list[str]:
        """Return the names of the programs' log groups, which CloudFormation made from stack and resource."""
        found = []
        for program in programs:
            prefix = f"{stack}-{program}LogGroup-"
            with translated(LogsUnavailableError, "listing the log groups"):
                answer = self._logs.describe_log_groups(logGroupNamePrefix=prefix, limit=1)
            names = [group["logGroupName"] for group in answer["logGroups"]]
            if not names:
                raise LogsUnavailableError(f"there is no log group {prefix}…: is {stack} the name of the stack?")
            found += names
        return found

    def run(self, text: str, groups: Sequence[str], since: float, until: float) -> list[dict[str, str]]:
        """Return the rows of a query over the lines of a period, with CloudWatch's texts as values.

        ``since`` and ``until`` are in seconds since the epoch. The query may take two minutes.
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
                time.sleep(self._poll_seconds)
        if answer["status"] != "Complete":
            raise LogsUnavailableError(f"the query ended with the status {answer['status']}")
        # @ptr is CloudWatch's own address of a line.
        return [{one["field"]: one["value"] for one in row if one["field"] != "@ptr"} for row in answer["results"]]
