"""Requests of load balancers and monitors, which the log marks: they are not the traffic of students."""

from __future__ import annotations

import re

from chalice.app import Request

from chalicelib import logs

HEADER = "X-Probe"
"""The header with which a monitor that is not in the list says what it is, with any value."""

_MONITORS = re.compile(
    r"ELB-HealthChecker|Amazon[- ]Route ?53|CloudWatchSynthetics|GoogleHC|GoogleStackdriverMonitoring|kube-probe"
    r"|Envoy/HC|Consul Health Check|Blackbox[- ]Exporter|UptimeRobot|Uptime-Kuma|Better ?(?:Stack|Uptime)|Pingdom"
    r"|StatusCake|Site24x7|HetrixTools|updown\.io|NodePing|Checkly|Datadog",
    re.IGNORECASE,
)


def note_probe(request: Request) -> None:
    """Mark the line of the request if a monitor sent it. Call it only for routes that monitors ask."""
    if HEADER.lower() in request.headers or _MONITORS.search(request.headers.get("user-agent", "")):
        logs.note(probe=True)
