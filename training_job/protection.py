"""Keeps ECS from stopping the worker's task during a training, when it scales in or at a deployment.

The agent next to each task answers under the address in ``ECS_AGENT_URI``:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
"""

from __future__ import annotations

import json
import logging
import time
from typing import Final
from urllib.request import ProxyHandler, Request, build_opener

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
        body = json.dumps(state).encode()
        request = Request(self._url, body, {"Content-Type": "application/json"}, method="PUT")  # noqa: S310 - ECS's address
        try:
            # Without a proxy, because the agent is on this machine.
            with build_opener(ProxyHandler({})).open(request, timeout=ANSWER_SECONDS) as answer:
                text = answer.read().decode("utf-8", "replace")
        except OSError as error:  # URLError too, which is also raised for a status that is no success
            _log.warning("ECS may stop this task during a training: %s", error)
        else:
            if '"failure"' in text:
                _log.warning("ECS may stop this task during a training: %s", text)
