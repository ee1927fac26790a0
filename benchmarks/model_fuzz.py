"""Serves damaged and hostile versions, and counts those that harm the process.

    python -m benchmarks.model_fuzz [--cases 1000] [--seed 1] [--json]

Each case changes the files of one version, or the pointer: sizes, nesting, links, shapes, compression, values that are
finite but absurd, damage at random places. Then a process with limited memory reads it as the API does. A case may be
refused, or serve predictions within their bounds. Anything else is an escape: another exception, a value that is not a
probability or not a time, more than 10 seconds, or more than 300 MB.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import multiprocessing
import resource
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import h5py
import msgspec
import numpy as np

from benchmarks._bucket import COHORT, registry_of
from benchmarks.predict import trained_files
from chalicelib.domain.errors import ModelError
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.prediction.explain import explain
from chalicelib.prediction.predictor import MODEL_FILES, predict, predict_many
from chalicelib.services import versions
from chalicelib.services.champion import ChampionCache

MAX_SECONDS, MAX_MEGABYTES = 10.0, 300.0
"""What one case may take, in addition to an idle process."""

NETWORKS, TEXTS = MODEL_FILES[:2], (*MODEL_FILES[2:], "metadata.json")
POINTER = "champion.json"

Files = dict[str, bytes]
Random = np.random.Generator


class Outcome(NamedTuple):
    """The outcome of a case. ``escape`` says what went wrong; it is None for a case that did no harm."""

    name: str
    refused: bool
    escape: str | None
    seconds: float
    megabytes: float


def served(files: Mapping[str, bytes]) -> str | None:
    """Read a version and predict with it, as the API does. Return what is wrong with an answer, or None.

    Raises ModelError for a version, or a pointer, that is refused.
    """
    registry = registry_of(files)
    # An error here would be a 500 of the list of versions.
    msgspec.json.encode(versions.list_versions(registry, COHORT))
    champion = ChampionCache(registry, COHORT, refresh_seconds=1e9)
    predictor = champion.current()
    if predictor is None:
        raise ModelError("no version is served")
    now = datetime(2026, 6, 1, tzinfo=UTC)
    topics = [*predictor.lnirt.topics[:4], "unknown"]
    answers = [Answer(topic, 1 + n % 4, n % 2 > 0, (None, 5.0, 90.0)[n % 3], now) for n, topic in enumerate(topics * 5)]
    for state in (UserState("student 0", 0, ()), replay("student 0", answers)):
        requested = [(topic, level) for topic in topics for level in range(1, 5)]
        found = [
            *predict_many(predictor, state, requested, now),
            *(predict(predictor, state, *one, now) for one in requested),
        ]
        for prediction in found:
            times = (prediction.seconds_low, prediction.seconds, prediction.seconds_high)
            if not 0.0 < prediction.correct < 1.0:
                return f"a probability of {prediction.correct}"
            if not all(value is None or (math.isfinite(value) and 0 < value <= 86_400) for value in times):
                return f"times of {times}"
        msgspec.json.encode(explain(predictor, found[0], state, *requested[0], now))
    return None


def changed_member(
    raw: bytes, member: str, change: Callable[[bytes], bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Return an archive with one member changed, and checksums that fit."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as before, zipfile.ZipFile(packed, "w", method) as after:
        for name in before.namelist():
            after.writestr(name, change(before.read(name)) if name == member else before.read(name))
    return packed.getvalue()


def changed_weights(raw: bytes, change: Callable[[h5py.File], object]) -> bytes:
    """Return an archive whose weights were changed by a function of the open HDF5 file."""

    def rewritten(content: bytes) -> bytes:
        file_bytes = io.BytesIO(content)
        with h5py.File(file_bytes, "r+") as file:
            change(file)
        return file_bytes.getvalue()

    return changed_member(raw, "model.weights.h5", rewritten)


def changed_graph(raw: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return an archive whose graph was changed by a function of the parsed document."""

    def rewritten(content: bytes) -> bytes:
        graph = json.loads(content)
        return json.dumps(change(graph) or graph).encode()

    return changed_member(raw, "config.json", rewritten)


def _variables(file: h5py.File) -> tuple[h5py.Group, str]:
    """Return the group and the name of the first weight."""
    for layer in file["layers"].values():
        if len(layer["vars"]):
            return layer["vars"], "0"
    raise AssertionError("the version has no weights")


def _replaced(make: Callable[[h5py.Group, str, tuple[int, ...]], object]) -> Callable[[h5py.File], object]:
    def change(file: h5py.File) -> None:
        group, name = _variables(file)
        shape = group[name].shape
        del group[name]
        make(group, name, shape)

    return change


def _external(path: str) -> Callable[[h5py.File], object]:
    """Make a weight whose numbers stand in another file of the machine."""
    return _replaced(
        lambda group, name, shape: group.create_dataset(
            name, shape, "f4", external=[(path, 0, 4 * int(np.prod(shape)))]
        )
    )


def _virtual(group: h5py.Group, name: str, shape: tuple[int, ...]) -> None:
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
    group.create_virtual_dataset(name, layout)


def _every_child_again(content: bytes) -> bytes:
    """Let each node of a tree name itself and the same child as often as it can, level by level."""
    tree = content.index(b"TREE")
    changed = bytearray(content)
    changed[tree + 5] = 3
    changed[tree + 6 : tree + 8] = (32).to_bytes(2, "little")
    for child in range(32):
        at = tree + 32 + 16 * child
        changed[at : at + 8] = tree.to_bytes(8, "little")
    return bytes(changed)


def _newer_format(content: bytes) -> bytes:
    raw = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as before, h5py.File(raw, "w", libver="latest") as after:
        before.copy("layers", after)
    return raw.getvalue()


def _many_names(file: h5py.File) -> None:
    """Let hundreds of layers have the same large array."""
    group, _ = _variables(file)
    group["large"] = np.zeros(4_000_000, np.float32)
    for n in range(900):
        layer = file.create_group(f"layers/copy_{n}/vars")
        layer.attrs["name"] = f"copy_{n}"
        layer["0"] = group["large"]


HOSTILE_WEIGHTS: Mapping[str, Callable[[h5py.File], object]] = {
    "external /etc/passwd": _external("/etc/passwd"),
    "external /proc/self/environ": _external("/proc/self/environ"),
    "external /dev/zero": _external("/dev/zero"),
    "virtual": _replaced(_virtual),
    "soft link": _replaced(lambda group, name, _: group.__setitem__(name, h5py.SoftLink("/layers"))),
    "link to a file": _replaced(lambda group, name, _: group.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/"))),
    "a link to itself": lambda file: file["layers"].__setitem__("again", file["layers"]),
    "empty but large": _replaced(lambda g, name, _: g.create_dataset(name, (1 << 31,), "f4", chunks=(1 << 20,))),
    "never written": _replaced(lambda g, name, shape: g.create_dataset(name, (1 << 30, *shape), "f4")),
    "packed zeros": _replaced(
        lambda g, name, _: g.create_dataset(name, data=np.zeros(1 << 24, np.float32), compression="gzip")
    ),
    "half a number": _replaced(lambda g, name, shape: g.create_dataset(name, shape, "f2")),
    "texts": _replaced(lambda g, name, _: g.create_dataset(name, data=["a", "b"])),
    "a group": _replaced(lambda g, name, _: g.create_group(name)),
    "no numbers": _replaced(lambda g, name, _: g.create_dataset(name, (0, 1), "f4")),
    "NaN": _replaced(lambda g, name, shape: g.create_dataset(name, data=np.full(shape, np.nan, "f4"))),
    "infinite": _replaced(lambda g, name, shape: g.create_dataset(name, data=np.full(shape, np.inf, "f4"))),
    "absurd": _replaced(lambda g, name, shape: g.create_dataset(name, data=np.full(shape, 3e38, "f4"))),
    "one array in 900 layers": _many_names,
    "a name of a megabyte": lambda file: _variables(file)[0].attrs.__setitem__("name", "x" * 60_000),
}


def _doubled(graph: dict[str, Any]) -> None:
    """Add layers that each join the one before to itself."""
    layers = graph["config"]["layers"]
    name = layers[0]["name"]
    for n in range(40):
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
        name = f"double_{n}"
        layers.append(
            {
                "class_name": "Concatenate",
                "name": name,
                "config": {"name": name, "axis": -1},
                "inbound_nodes": [{"args": [[tensor, tensor]], "kwargs": {}}],
            }
        )
    graph["config"]["output_layers"] = [name, 0, 0]


def _wide(graph: dict[str, Any]) -> None:
    for layer in graph["config"]["layers"]:
        if "batch_shape" in layer["config"]:
            layer["config"]["batch_shape"] = [None, 1 << 30]


def _joined_often(graph: dict[str, Any]) -> None:
    _doubled(graph)
    node = graph["config"]["layers"][-1]["inbound_nodes"][0]
    node["args"] = [node["args"][0] * 50_000]


def _nested_call(graph: dict[str, Any]) -> None:
    _doubled(graph)
    node = graph["config"]["layers"][-1]["inbound_nodes"][0]
    for _ in range(400):
        node["args"] = [node["args"]]


HOSTILE_GRAPHS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "doubling": _doubled,
    "wide inputs": _wide,
    "joined 100,000 times": _joined_often,
    "a nested call": _nested_call,
    "many layers": lambda graph: graph["config"].update(layers=graph["config"]["layers"] * 3_000),
    "no layers": lambda graph: graph["config"].update(layers=[]),
    "a list": lambda graph: [graph],
    "a cycle": lambda graph: graph["config"].update(layers=graph["config"]["layers"][::-1]),
}

NESTED = (b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
HOSTILE_TEXTS: Mapping[str, bytes] = {
    "nested lists": NESTED[0],
    "nested objects": NESTED[1],
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1e999",
    "not UTF-8": b"\xff\xfe{}",
    "long digits": b"[" + b"9" * 5_000_000 + b"]",
    "zeros": b"\x00" * 1_000_000,
    "40 MB": b'{"x":"' + b"y" * 40_000_000 + b'"}',
    "empty lists": b'{"x":[' + b"[]," * 9_000_000 + b"[]]}",
    "half a character": b'{"version":"\\ud800","reason":"\\ud800","files":{}}',
    "a long number": b'{"version":"v1","n_samples":1' + b"0" * 400 + b',"validation":{"auc":1' + b"0" * 400 + b"}}",
    **{
        f"version {name!r}": json.dumps(
            {"version": name, "previous": name, "promoted_at": "", "request_id": None}
        ).encode()
        for name in ("../v1", "\0", "\ud800", ".", "v1\n", "x" * 5000)
    },
}
ODD_VALUES: tuple[Any, ...] = (
    1e308,
    -1e308,
    1e-308,
    0,
    -1,
    1e39,
    10**400,
    math.nan,
    math.inf,
    None,
    "x",
    [],
    {},
    [[]],
    True,
    10**9,
    1e7,
)


def _bomb(raw: bytes, member: str) -> bytes:
    return changed_member(raw, member, lambda _: b"\x00" * 200_000_000)


def _many_members(raw: bytes) -> bytes:
    packed = io.BytesIO(raw)
    with zipfile.ZipFile(packed, "a") as archive:
        for n in range(20_000):
            archive.writestr(f"{n}", b"")
    return packed.getvalue()


def _hidden_bomb(raw: bytes) -> bytes:
    """Let the directory of the archive promise 16 bytes where there are half a gigabyte."""
    archive = bytearray(changed_member(raw, "model.weights.h5", lambda _: b"\x00" * 500_000_000))
    entry = archive.rindex(b"PK\x01\x02", 0, archive.rindex(b"model.weights.h5"))
    archive[entry + 24 : entry + 28] = (16).to_bytes(4, "little")
    return bytes(archive)


def _lying_size(raw: bytes) -> bytes:
    """Let the directory of the archive promise fewer bytes than there are."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        size = archive.getinfo("model.weights.h5").file_size
    return raw.replace(size.to_bytes(4, "little"), (16).to_bytes(4, "little"))


HOSTILE_ARCHIVES: Mapping[str, Callable[[bytes], bytes]] = {
    "bomb of weights": lambda raw: _bomb(raw, "model.weights.h5"),
    "bomb of a graph": lambda raw: _bomb(raw, "config.json"),
    "many members": _many_members,
    "a size that is not true": _lying_size,
    "a bomb of 16 bytes": _hidden_bomb,
    "LZMA": lambda raw: changed_member(raw, "config.json", bytes, zipfile.ZIP_LZMA),
    "not an archive": lambda _: b"PK\x03\x04" * 1000,
    "empty": lambda _: b"",
    "a tree in a circle": lambda raw: changed_member(raw, "model.weights.h5", _every_child_again),
    "a newer HDF5": lambda raw: changed_member(raw, "model.weights.h5", _newer_format),
    "one in another": lambda raw: changed_member(raw, "model.weights.h5", lambda _: raw),
    "paths": lambda raw: changed_member(raw, "../../config.json", bytes),
}


def hostile(files: Files) -> Iterator[tuple[str, Callable[[], Files]]]:
    """Give the cases that somebody thought of, by name. A case is made when it is called, because some are large."""
    for network in NETWORKS:
        for name, damage in HOSTILE_WEIGHTS.items():
            yield f"{network}: {name}", partial(_with, files, network, partial(changed_weights, change=damage))
        for name, change in HOSTILE_GRAPHS.items():
            yield f"{network}: graph, {name}", partial(_with, files, network, partial(changed_graph, change=change))
        for name, repack in HOSTILE_ARCHIVES.items():
            yield f"{network}: {name}", partial(_with, files, network, repack)
    for text in (*TEXTS, POINTER):
        for name, body in HOSTILE_TEXTS.items():
            yield f"{text}: {name}", partial(dict, {**files, text: body})
    for missing in files:
        yield f"without {missing}", partial(dict, {name: body for name, body in files.items() if name != missing})


def _with(files: Files, name: str, change: Callable[[bytes], bytes]) -> Files:
    return {**files, name: change(files[name])}


def drawn(files: Files, random: Random) -> tuple[str, Files]:
    """Return a case of chance: some damaged bytes, or an odd value at some place of a document."""
    name = str(random.choice([*MODEL_FILES, "metadata.json"]))
    if name in TEXTS and random.random() < 0.8:
        document = json.loads(files[name])
        return f"{name}: odd value", {**files, name: json.dumps(_with_odd_value(document, random)).encode()}
    if name in NETWORKS and random.random() < 0.7:
        member = str(random.choice(["config.json", "model.weights.h5"]))
        if member == "config.json" and random.random() < 0.7:
            change = lambda content: json.dumps(_with_odd_value(json.loads(content), random)).encode()  # noqa: E731
        else:
            change = lambda content: _damaged(content, random)  # noqa: E731
        return f"{name}: {member}", {**files, name: changed_member(files[name], member, change)}
    return f"{name}: damaged", {**files, name: _damaged(files[name], random)}


def _damaged(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, len(content), int(random.integers(1, 9))):
        changed[place] = int(random.integers(0, 256))
    return bytes(changed[: int(random.integers(0, len(content)))] if random.random() < 0.2 else changed)


def _with_odd_value(document: Any, random: Random) -> Any:
    """Return the document with one value replaced, at a place of any depth, or with all numbers of a list replaced."""
    odd = ODD_VALUES[int(random.integers(len(ODD_VALUES)))]
    if not isinstance(document, dict | list) or not document or random.random() < 0.15:
        return odd
    places = list(document) if isinstance(document, dict) else range(len(document))
    place = places[int(random.integers(len(places)))]
    changed = document.copy()
    if isinstance(document, list) and random.random() < 0.3:
        return [odd if isinstance(value, int | float) else value for value in document]
    changed[place] = _with_odd_value(document[place], random)
    return changed


def run_case(name: str, files: Files) -> Outcome:
    """Serve one case in this process."""
    before, started = _peak_megabytes(), time.perf_counter()
    refused, escape = False, None
    try:
        escape = served(files)
    except ModelError:
        refused = True
    except Exception as error:  # noqa: BLE001 - every other exception is what is searched for
        escape = f"{type(error).__name__}: {error}"[:200]
    if not refused and any(word in name for word in ("external", "virtual", "link")):
        escape = escape or "weights from another place were served"
    seconds, megabytes = time.perf_counter() - started, _peak_megabytes() - before
    if escape is None and (seconds > MAX_SECONDS or megabytes > MAX_MEGABYTES):
        escape = f"{seconds:.1f} s and {megabytes:.0f} MB"
    return Outcome(name, refused, escape, seconds, megabytes)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _prepare(files: Files) -> None:
    """Serve the unchanged version, which imports everything, and let an allocation that is too large fail here."""
    logging.getLogger("studysmart").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    if (fault := served(files)) is not None:
        raise AssertionError(f"the unchanged version gives {fault}")


def run(files: Files, n_cases: int, seed: int) -> list[Outcome]:
    """Serve all hostile cases, then cases of chance up to ``n_cases``, in a process that may die."""
    context = multiprocessing.get_context("spawn")
    random = np.random.default_rng(seed)
    cases: Iterator[tuple[str, Callable[[], Files]]] = hostile(files)
    outcomes: list[Outcome] = []
    pool = None
    try:
        while len(outcomes) < n_cases:
            name, make = next(cases, ("", None))
            name, case = (name, make()) if make is not None else drawn(files, random)
            # A peak cannot fall, so a process that has used much memory is replaced.
            if pool is None or outcomes[-1].megabytes > 100 or outcomes[-1].escape:
                if pool is not None:
                    pool.shutdown()
                pool = ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(files,))
            try:
                outcomes.append(pool.submit(run_case, name, case).result())
            except BrokenProcessPool:
                outcomes.append(Outcome(name, False, "the process died", 0.0, 0.0))
    finally:
        if pool is not None:
            pool.shutdown()
    return outcomes


def model_fuzz(n_cases: int, seed: int) -> dict[str, Any]:
    """Train a version, serve ``n_cases`` changes of it, and return the figures."""
    files, _ = trained_files(seed)
    return figures(run(files, n_cases, seed))


def figures(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the figures of a run."""
    return {
        "model_fuzz_cases": len(outcomes),
        "refused": sum(outcome.refused for outcome in outcomes),
        "escapes": sum(outcome.escape is not None for outcome in outcomes),
        "escaped": [f"{outcome.name}: {outcome.escape}" for outcome in outcomes if outcome.escape][:20],
        "worst_seconds": round(max(outcome.seconds for outcome in outcomes), 3),
        "worst_mb": round(max(outcome.megabytes for outcome in outcomes), 1),
    }


def main() -> None:
    """Print the figures; with ``--json`` as one JSON object."""
    parser = argparse.ArgumentParser(description="Serve damaged and hostile versions")
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = model_fuzz(options.cases, options.seed)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
