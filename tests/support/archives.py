"""Small ``.keras`` archives and versions made without Keras, in the layout that Keras 3 writes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import h5py
import numpy as np

from chalicelib.domain.forgetting import Forgetting
from chalicelib.domain.lnirt_json import from_json, to_json
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import FEATURE_SCHEMA, N_MONOTONE, dense_columns, time_priors
from chalicelib.features.pooled import PooledLayout
from chalicelib.features.state import UserState
from chalicelib.features.summary import StateView
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.interval import TimeInterval
from chalicelib.prediction.network import Networks
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import Vocabulary, read_vocabulary
from chalicelib.services.versions import successor
from tests.support.fakes.services import MemoryRegistry
from tests.support.models import constants_of, model_of


def n_dense_of(schema: int) -> int:
    """The number of dense columns that a version of this schema reads."""
    model = model_of(1)
    past = StateView(UserState("", 0, ()), VersionConstants.of_lnirt(model)).summary("topic 0", 1, None)
    n = int(dense_columns(past, model, time_priors(past, model), schema).shape[1])
    return n if schema > 3 else n - N_ITEM_COLUMNS_BEFORE


N_ITEM_COLUMNS_BEFORE = 14
"""Dense columns about the item in schema 4, the last ones."""

N_DENSE = n_dense_of(FEATURE_SCHEMA)


@dataclass
class Layer:
    """One layer of a graph: class, name, inputs, configuration, weights."""

    kind: str
    name: str
    inputs: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Sequence[Any] = ()


def input_layer(name: str, width: int, dtype: str = "float32") -> Layer:
    return Layer("InputLayer", name, config={"batch_shape": [None, width], "dtype": dtype})


def archive(layers: Sequence[Layer], output: str, *, kind: str = "Functional") -> bytes:
    """The bytes of a ``.keras`` file with these layers."""
    raw = io.BytesIO()
    with h5py.File(raw, "w") as file:
        for number, layer in enumerate(layers):
            variables = file.create_group(f"layers/layer_{number}/vars")
            variables.attrs["name"] = layer.name
            for position, weight in enumerate(layer.weights):
                array = np.asarray(weight)
                variables[str(position)] = array.astype(np.float32) if array.dtype == np.float64 else array
    graph = {
        "class_name": kind,
        "config": {
            "layers": [
                {
                    "class_name": layer.kind,
                    "name": layer.name,
                    "config": dict[str, Any](name=layer.name) | dict(layer.config),
                    "inbound_nodes": [_call(layer.inputs)] if layer.inputs else [],
                }
                for layer in layers
            ],
            "output_layers": [output, 0, 0],
        },
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        contents: dict[str, str | bytes] = {"metadata.json": "{}", "config.json": json.dumps(graph)}
        contents["model.weights.h5"] = raw.getvalue()
        for name, content in contents.items():
            file.writestr(zipfile.ZipInfo(name), content)  # a fixed date, so equal networks have equal bytes
    return packed.getvalue()


def rewritten(raw: bytes, member: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with one member changed, and checksums that fit."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as before, zipfile.ZipFile(packed, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(before.read(name)) if name == member else before.read(name))
    return packed.getvalue()


def _call(inputs: Sequence[str]) -> dict[str, Any]:
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}} for name in inputs]
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": {}}


def network_input_layers(n_pooled: int, n_dense: int = N_DENSE, n_monotone: int = N_MONOTONE) -> list[Layer]:
    """All inputs of a version's network."""
    return [
        input_layer("prior", 1),
        input_layer("user", 1, "int32"),
        input_layer("topic", 1, "int32"),
        input_layer("difficulty", 1, "int32"),
        input_layer("last", n_monotone),
        input_layer("state", n_dense),
        input_layer("pooled", n_pooled),
    ]


def network_inputs(
    n: int, n_dense: int, n_pooled: int, *, n_topics: int, n_users: int, seed: int = 1
) -> dict[str, Any]:
    """Random values for all inputs of a network, ``n`` rows of each."""
    rng = np.random.default_rng(seed)
    return {
        "prior": rng.normal(size=(n, 1)).astype(np.float32),
        "user": rng.integers(0, n_users, (n, 1)).astype(np.int32),
        "topic": rng.integers(0, n_topics, (n, 1)).astype(np.int32),
        "difficulty": rng.integers(0, 4, (n, 1)).astype(np.int32),
        "last": np.hstack([rng.choice([-1.0, 0.0, 1.0], (n, 1)), rng.random((n, N_MONOTONE - 1))]).astype(np.float32),
        "state": rng.normal(size=(n, n_dense)).astype(np.float32),
        "pooled": rng.normal(size=(n, n_pooled)).astype(np.float32),
    }


def network(weight: float, n_pooled: int, n_dense: int = N_DENSE, *, bias: float = 0.0) -> bytes:
    """prior + weight * (sum of the pooled vector) + bias: enough of a network to see that it was asked."""
    weights = [np.full((n_pooled, 1), weight), np.full(1, bias)]
    return headed(network_input_layers(n_pooled, n_dense), "pooled", weights)


def headed(layers: Sequence[Layer], source: str, weights: Sequence[Any]) -> bytes:
    """A network that adds one dense unit on the output of ``source`` to the prior."""
    head = Layer("Dense", "head", [source], {"units": 1}, weights)
    return archive([*layers, head, Layer("Add", "output", ["prior", "head"])], "output")


def attentive_network(
    n_pooled: int, n_dense: int = N_DENSE, *, last: float = 0.2, seed: int = 0, n_monotone: int = N_MONOTONE
) -> bytes:
    """prior + ``last`` * last + random weights * (clock, state, pooled): its output depends on every input number."""
    weights = np.random.default_rng(seed).normal(scale=0.05, size=(n_monotone + n_dense + n_pooled, 1))
    weights[0] = last
    everything = Layer("Concatenate", "everything", ["last", "state", "pooled"], {"axis": -1})
    return headed(
        [*network_input_layers(n_pooled, n_dense, n_monotone), everything], "everything", [weights, np.zeros(1)]
    )


def attentive_files(*, times: bool = True) -> dict[str, bytes]:
    """Those of :func:`version_files` with networks that read every input."""
    networks = {"correctness_model.keras": attentive_network(4), "time_model.keras": attentive_network(4, seed=1)}
    return {**version_files(times=times), **networks}


def with_vocabulary(files: Mapping[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The files of a version with some fields of its vocabulary replaced."""
    vocabulary = replace(read_vocabulary(files["vocabulary.json"]), **changes)
    return {**files, "vocabulary.json": vocabulary.to_json()}


def overflowing(sound: Predictor | None = None, *, time: bool = False) -> Predictor:
    """The version with a network that overflows: no file gives it, because a probe would refuse it."""
    sound = sound or Predictor.from_files(version_files())
    stages = [Layer("Rescaling", f"{i + 1}", [f"{i}" if i else "pooled"], {"scale": 1e4}) for i in range(11)]
    broken = read_keras(headed([*network_input_layers(4), *stages], "11", [np.ones((4, 1)), np.zeros(1)]))
    models = [broken, sound.networks.time.model] if not time else [sound.networks.correctness.model, broken]
    return Predictor("v1", sound.lnirt, sound.vocabulary, Networks(*models))


def version_files(*, weight: float = 0.1, times: bool = True, version: str = "v1") -> dict[str, bytes]:
    """The five files of a version that knows ``topic 0`` to ``topic 2``."""
    lnirt = model_of(3, times=times)
    constants = constants_of(lnirt)
    vocabulary = Vocabulary(
        topics=lnirt.topics,
        users=("student 0",),
        correctness_pooled=PooledLayout(((0, 1),), 4),
        time_pooled=PooledLayout(((3, 2),), 4),
        mean=np.zeros(N_DENSE, dtype=np.float32),
        scale=np.ones(N_DENSE, dtype=np.float32),
        traits=constants.traits,
        sequences=constants.sequences,
        has_time=times,
        time_interval=TimeInterval.constant(-1.3, 1.3),
    )
    return {
        "correctness_model.keras": network(weight, 4),
        "time_model.keras": network(weight, 4),
        "lnirt.json": to_json(lnirt),
        "vocabulary.json": vocabulary.to_json(),
        "metadata.json": json.dumps({"version": version}).encode(),
    }


def forgetful_files(pause: float = 0.5) -> dict[str, bytes]:
    """Those of :func:`version_files`, predicted by LNIRT with forgetting alone: ``pause`` logits per log(1 + hours)."""
    files = version_files(weight=0.0)
    lnirt = from_json(files["lnirt.json"])
    none = np.zeros(len(lnirt.easiness))
    return {**files, "lnirt.json": to_json(replace(lnirt, forgetting=Forgetting(none, none, 0.0, 0.0, pause, 0.0)))}


def publish(registry: MemoryRegistry, version: str, cohort: str = "default", **vocabulary: Any) -> None:
    """Publish a version that can be served, and make it the champion, as another process would.

    ``vocabulary`` replaces fields of its vocabulary.
    """
    files = with_vocabulary(version_files(version=version), **vocabulary)
    del files["metadata.json"]
    registry.write_version(cohort, version, files, {"n_samples": 10, "request_id": f"request of {version}"})
    champion, etag = registry.read_champion(cohort) or (None, None)
    registry.write_champion(cohort, successor(champion, version, None), etag)
