"""The environment variables of the stack's processes."""

from __future__ import annotations

from collections.abc import Mapping

# Settings that the person who starts the stack may give in their own environment.
_DEFAULTS = {
    "CORS_ORIGINS": "http://localhost:3000,http://localhost:4000",
    # Short, as only this stack ends a worker: what a killed one was doing is taken up again soon.
    "LEASE_SECONDS": "20",
}

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TENSORFLOW = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
}


def base_environment(own: Mapping[str, str]) -> dict[str, str]:
    """What every process gets: the starter's environment, without what would lead to the starter's cloud account."""
    environment = {name: value for name, value in own.items() if not name.startswith(("AWS_", "MOTO_"))}
    local = "127.0.0.1,localhost"
    # A proxy that the starter uses must not be asked for addresses of this machine.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = f"{environment[name]},{local}" if environment.get(name) else local
    environment["PYTHONUNBUFFERED"] = "1"
    # Products of small matrices on several threads only take turns with each other.
    return environment | dict.fromkeys(_ONE_THREAD, "1")


def program_settings(own: Mapping[str, str], database_url: str, aws: Mapping[str, str]) -> dict[str, str]:
    """What the product reads, complete enough for a command of the operator to reach the same stack.

    Its lines are JSON as on AWS; the starter's ``LOG_FORMAT`` says how they are shown (:mod:`infra.local.output`).
    """
    given = {name: own.get(name, default) for name, default in _DEFAULTS.items()}
    return {**given, "LOG_FORMAT": "json", **aws, "DATABASE_URL": database_url, "NO_PROXY": "127.0.0.1,localhost"}


def worker_limits(own: Mapping[str, str]) -> dict[str, str]:
    """Keeps TensorFlow to one thread, so that requests are answered while it trains."""
    return {name: own.get(name, value) for name, value in _TENSORFLOW.items()}


def worker_module(own: Mapping[str, str]) -> str:
    """The module that trains: the poll loop, or with ``TRAINING_COMPUTE=lambda`` the Lambda's handler."""
    return "infra.local.event_source" if own.get("TRAINING_COMPUTE") == "lambda" else "training_job"
