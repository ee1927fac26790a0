"""The two networks of a version behind one pair of functions, for one prediction or many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters
from chalicelib.features.inputs import Float32Array
from chalicelib.prediction.keras_archive import KerasModel
from chalicelib.prediction.vocabulary import Vocabulary

Inputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Networks:
    """The correctness model (logit) and the time model (log seconds) of a version."""

    correctness: KerasModel
    time: KerasModel


def network_inputs(
    prior: FloatArray,
    user: IntArray,
    topic: IntArray,
    level: IntArray,
    last: FloatArray,
    dense: Float32Array,
    pooled: Float32Array,
) -> dict[str, npt.NDArray[Any]]:
    """A network's named inputs: columns (N, 1) of prior, rows and last outcome; dense and pooled columns.

    ``last`` (N,) is 1, -1 or 0; ``dense`` (N, D) is standardised.
    """
    return {
        "prior": prior.astype(np.float32)[:, None],
        "user": user.astype(np.int32)[:, None],
        "topic": topic.astype(np.int32)[:, None],
        "difficulty": level.astype(np.int32)[:, None],
        "last": last.astype(np.float32)[:, None],
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
    if len(vocabulary.population.traits.success) != len(lnirt.topics) + 1:
        raise ModelError("vocabulary.json and lnirt.json disagree on the number of topics")
    if vocabulary.has_time != (lnirt.time is not None):
        raise ModelError("vocabulary.json and lnirt.json disagree on whether there are times")
