"""The reader of weights gives what h5py gives, or refuses the file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from chalicelib.domain.model_files import MALFORMED
from chalicelib.prediction.hdf5 import Hdf5File


def written(change: Callable[[h5py.File], object], **options: Any) -> bytes:
    raw = io.BytesIO()
    with h5py.File(raw, "w", **options) as file:
        change(file)
    return raw.getvalue()


def test_arrays_and_names_are_those_that_h5py_reads() -> None:
    rng = np.random.default_rng(0)
    shapes = [(), (1,), (3, 4), (7, 1, 2), (4020, 32)]
    arrays = {
        f"layer {i}": [rng.normal(size=shape).astype(np.float32) for shape in shapes[: i % 6]] for i in range(300)
    }

    def fill(file: h5py.File) -> None:
        for key, weights in arrays.items():
            group = file.create_group(f"layers/{key}/vars")
            group.attrs["other"] = "text"
            group.attrs["name"] = f"name of {key} · é"
            for position, weight in enumerate(weights):
                group[str(position)] = weight

    file = Hdf5File(written(fill))
    layers = file.links(file.links(file.root)["layers"])
    assert list(layers) == sorted(arrays)
    for key, layer in layers.items():
        group = file.links(layer)["vars"]
        assert file.text(group, "name") == f"name of {key} · é"
        found = [file.array(header) for header in file.links(group).values()]
        for array, expected in zip(found, arrays[key], strict=True):
            np.testing.assert_array_equal(array, expected)


def external(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    "change",
    [
        external,
        virtual,
        lambda file: file.create_dataset("x", data=np.zeros(4, "f4"), compression="gzip"),
        lambda file: file.create_dataset("x", data=np.zeros(4, "f4"), chunks=(2,)),
        lambda file: file.create_dataset("x", (1 << 40,), "f4"),
        lambda file: file.create_dataset("x", data=np.zeros(4, "f8")),
        lambda file: file.create_dataset("x", data=np.zeros(4, ">f4")),
        lambda file: file.create_dataset("x", data=h5py.Empty("f4")),
        lambda file: file.create_group("x"),
        lambda file: file.__setitem__("x", h5py.SoftLink("/y")),
        lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/y")),
    ],
    ids=[
        "external",
        "virtual",
        "packed",
        "in chunks",
        "never written",
        "f8",
        ">f4",
        "empty",
        "group",
        "soft",
        "outside",
    ],
)
def test_anything_but_numbers_in_the_file_is_refused(change: Callable[[h5py.File], object]) -> None:
    raw = written(change)
    with pytest.raises(MALFORMED):
        (file := Hdf5File(raw)).array(file.links(file.root)["x"])


def test_arrays_that_share_their_numbers_are_refused() -> None:
    def fill(file: h5py.File) -> None:
        file["x"] = np.zeros(1000, "f4")
        file["y"] = file["x"]

    file = Hdf5File(written(fill))
    with pytest.raises(ValueError, match="larger than their file"):
        [file.array(header) for header in file.links(file.root).values()]


@pytest.mark.parametrize("level", [0, 1, 3, 200])
def test_a_tree_of_links_in_a_circle_ends(level: int) -> None:
    changed = bytearray(written(lambda file: file.create_group("layers")))
    tree = changed.index(b"TREE")
    struct.pack_into("<BH", changed, tree + 5, level, 32)
    for child in range(32):
        struct.pack_into("<Q", changed, tree + 32 + 16 * child, tree)
    file = Hdf5File(bytes(changed))
    with pytest.raises(ValueError, match=r"no tree|no symbol table|parts"):
        file.links(file.root)


@pytest.mark.parametrize("options", [{"libver": "latest"}, {"userblock_size": 512}])
def test_other_versions_of_the_format_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not HDF5 of version 0"):
        Hdf5File(written(lambda file: file.create_group("layers"), **options))
