"""Keeps ECS from stopping the worker's task during a training, when it scales in or at a deployment.

The agent next to each task answers under the address in ``ECS_AGENT_URI``:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
"""

from __future__ import annotations

import json
import logging
import time
from http import HTTPStatus
from typing import Final

_log = logging.getLogger("studysmart.worker")

EXPIRES_MINUTES: Final = 60
"""Minutes after which the protection ends by itself, so that a worker that hangs is not kept for ever."""

RENEW_SECONDS: Final = EXPIRES_MINUTES * 60 / 4
ANSWER_SECONDS: Final = 3


class TaskProtection:
    """Protects the task that it runs in. Outside of ECS, without an ``agent``, it does nothing.

    A failure is logged and does not stop a training: a task that is stopped gives its training back.
    """

    def __init__(self, agent: str | None) -> None:
        self._url = f"{agent}/task-protection/v1/state" if agent else None
        self._since: float | None = None

    def protect(self) -> None:
        """Protect the task, or prolong its protection once a quarter of it is over."""
        if self._since is None or time.monotonic() - self._since > RENEW_SECONDS:
            self._since = time.monotonic()
            self._put({"ProtectionEnabled": True, "ExpiresInMinutes": EXPIRES_MINUTES})

    def release(self) -> None:
        """Let ECS stop the task again."""
        self._since = None
        self._put({"ProtectionEnabled": False})

    def _put(self, state: dict[str, object]) -> None:
        if self._url is None:
            return
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.httpsession import URLLib3Session

        # Without a proxy, because the agent is on this machine.
        session = URLLib3Session(timeout=ANSWER_SECONDS)
        headers = {"Content-Type": "application/json"}
        try:
            answer = session.send(AWSRequest("PUT", self._url, headers, data=json.dumps(state)).prepare())
            failed = answer.status_code != HTTPStatus.OK or b'"failure"' in answer.content
            reason = f"{answer.status_code} {answer.text}" if failed else ""
        except BotoCoreError as error:
            reason = str(error)
        finally:
            session.close()
        if reason:
            _log.warning("ECS may stop this task during a training: %s", reason)
