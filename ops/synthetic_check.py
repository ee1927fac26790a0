"""A student who comes every few minutes: the acceptance check of a deployment, as a Lambda on a schedule.

The template creates it if ``SyntheticCheckMinutes`` is set, and an alarm on two checks in a row that did not succeed.
"""

from __future__ import annotations

import os
from typing import Any, Final

from infra.deploy import acceptance

HEALTH_SECONDS: Final = 10.0
"""How long the API may take until it is healthy. It is no new address, so a minute of errors is an error."""


def handler(_event: Any, _context: Any) -> None:
    """Do at the address ``API_URL`` what a student does. Raises DeployError, which Lambda counts as an error."""
    acceptance.check(os.environ["API_URL"], health_seconds=HEALTH_SECONDS)
