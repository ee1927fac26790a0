"""The environment variables of the stack's processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from chalicelib.config import Settings
from chalicelib.domain.errors import ConfigurationError

# Ports on which front ends are developed: with Next and others, Vite, and this project's own.
_ORIGINS = [f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (3000, 4000, 4173, 5173)]

# Settings that the user may override in the environment of `make run`, like all others.
_DEFAULTS = {
    "CORS_ORIGINS": ",".join(_ORIGINS),
    # Short, because only this stack ends a worker: the training of a killed worker is soon taken up again.
    "LEASE_SECONDS": "20",
    # Receivers under development listen on this machine, without HTTPS.
    "WEBHOOK_PRIVATE_ADDRESSES": "true",
}

_WORKERS, _MAXIMUM_WORKERS = 2, 16
"""Two, so that the long training of one cohort does not hold up the others."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TENSORFLOW = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
}


def base_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment without the variables that lead to the user's own AWS account."""
    environment = {name: value for name, value in own.items() if not name.startswith(("AWS_", "MOTO_"))}
    local = "127.0.0.1,localhost"
    # A proxy of the user must not be used for addresses of this machine.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = f"{environment[name]},{local}" if environment.get(name) else local
    environment["PYTHONUNBUFFERED"] = "1"
    # The matrices are small: more threads would only wait for each other.
    return environment | dict.fromkeys(_ONE_THREAD, "1")


def program_settings(
    own: Mapping[str, str], database_url: str, aws: Mapping[str, str], state: Path | None = None
) -> dict[str, str]:
    """Return the settings of the product. The commands of an operator reach the same stack with them.

    The log is JSON, as on AWS. The user's ``LOG_FORMAT`` decides how it is shown (:mod:`infra.local.output`).
    """
    names = ["LIMITS", *(field.encode_name for field in msgspec.structs.fields(Settings) if not field.required)]
    given = _DEFAULTS | {name: own[name] for name in names if name in own}
    if state is not None:
        given["DISK_PATH"] = str(state)
    return {**given, "LOG_FORMAT": "json", **aws, "DATABASE_URL": database_url, "NO_PROXY": "127.0.0.1,localhost"}


def worker_limits(own: Mapping[str, str]) -> dict[str, str]:
    """Return settings that keep TensorFlow to one thread, so that requests are answered during a training."""
    return {name: own.get(name, value) for name, value in _TENSORFLOW.items()}


def worker_options(own: Mapping[str, str]) -> list[list[str]]:
    """Return the options of each training worker. Raises ConfigurationError for a wrong ``TRAINING_WORKERS``.

    All but the first are in reserve: they have no TensorFlow in memory until they train.
    """
    text = own.get("TRAINING_WORKERS", str(_WORKERS)).strip()
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAXIMUM_WORKERS):
        raise ConfigurationError(f"TRAINING_WORKERS={text!r} is not a whole number from 1 to {_MAXIMUM_WORKERS}")
    # A Lambda loads TensorFlow with its first training anyway, and knows no options.
    in_reserve = ["--reserve"] if worker_module(own) == "training_job" else []
    return [[], *[in_reserve] * (int(text) - 1)]


def worker_module(own: Mapping[str, str]) -> str:
    """Return the module that trains: the polling worker, or with ``TRAINING_COMPUTE=lambda`` the Lambda's handler."""
    return "infra.local.event_source" if own.get("TRAINING_COMPUTE") == "lambda" else "training_job"
