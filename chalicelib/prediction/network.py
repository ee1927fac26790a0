"""The two networks of a version behind one pair of functions, for one prediction or many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.domain.numerics import Column, Row
from chalicelib.features.inputs import Float32Array
from chalicelib.prediction.archive import KerasModel
from chalicelib.prediction.compiled import Program, compiled
from chalicelib.prediction.vocabulary import Vocabulary

Inputs = Mapping[str, npt.NDArray[Any]]

TIME_PRIOR, TIME_POOLED = "time_prior", "time_pooled"
"""What the time model's own inputs are called beside those of the correctness model; it shares the others."""


@dataclass(frozen=True)
class Networks:
    """The correctness model (logit) and the time model (log seconds) of a version, and both as one program."""

    correctness: KerasModel
    time: KerasModel
    program: Program = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        together = compiled([self.correctness, self.time], [{}, {"prior": TIME_PRIOR, "pooled": TIME_POOLED}])
        object.__setattr__(self, "program", together)

    def __call__(
        self, inputs: Inputs, time_prior: Float32Array, time_pooled: Float32Array
    ) -> tuple[FloatArray, FloatArray]:
        """Logits and log seconds, (N,) each.

        ``inputs`` are those of the correctness model (:func:`network_inputs`), the others the time model's own prior
        (N, 1) and pooled vectors (N, width). Raises ModelError for inputs that do not fit.
        """
        logit, log_seconds = self.program({**inputs, TIME_PRIOR: time_prior, TIME_POOLED: time_pooled})
        return logit[:, 0].astype(np.float64), log_seconds[:, 0].astype(np.float64)


def network_inputs(
    prior: Column,
    user: Row,
    topic: Row,
    level: Row,
    last: Column,
    dense: Float32Array,
    pooled: Float32Array,
) -> dict[str, npt.NDArray[Any]]:
    """A network's named inputs: columns (N, 1) of prior, rows and last outcome; dense and pooled columns.

    ``last`` is 1, -1 or 0; ``dense`` (N, D) is standardised. All are of one prediction, or all of N.
    """
    codes = np.array((user, topic, level), dtype=np.int32).reshape(3, -1, 1)
    numbers = np.array((prior, last), dtype=np.float32).reshape(2, -1, 1)
    return {
        "prior": numbers[0],
        "user": codes[0],
        "topic": codes[1],
        "difficulty": codes[2],
        "last": numbers[1],
        "state": dense,
        "pooled": pooled,
    }


def check_fit(networks: Networks, vocabulary: Vocabulary, lnirt: LnirtParameters) -> None:
    """Raise ModelError when the files of a version do not belong together."""
    expected = {"prior": 1, "user": 1, "topic": 1, "difficulty": 1, "last": 1, "state": len(vocabulary.mean)}
    layouts = {"correctness": vocabulary.correctness_pooled, "time": vocabulary.time_pooled}
    for name, model in (("correctness", networks.correctness), ("time", networks.time)):
        widths = {item.name: item.width for item in model.inputs}
        if widths != {**expected, "pooled": layouts[name].width}:
            raise ModelError(f"the {name} model has inputs {widths}, the vocabulary does not fit")
        if model.output_shape != (1,):
            raise ModelError(f"the {name} model gives {model.output_shape}, expected one number")
    if not set(vocabulary.topics) <= set(lnirt.topics):
        raise ModelError("vocabulary.json has topics that lnirt.json lacks")
    if len(vocabulary.traits.success) != len(lnirt.topics) + 1:
        raise ModelError("vocabulary.json and lnirt.json disagree on the number of topics")
    if vocabulary.has_time != (lnirt.time is not None):
        raise ModelError("vocabulary.json and lnirt.json disagree on whether there are times")
