"""Reads the weights in an HDF5 file that Keras has written.

HDF5 can name other files to read, link groups in circles, and compute data while they are read. The library that reads
all of it is a large parser in C. A weights file needs little: groups, one text attribute, and arrays of float32 that
lie in the file as they are. This reader knows nothing else, follows only addresses inside the file, and reads a bounded
number of parts. It refuses anything else by one of the errors in :data:`chalicelib.domain.model_files.MALFORMED`.

The layout is version 0 of the file format, which h5py writes unless it is told otherwise: "HDF5 File Format
Specification Version 3.0", The HDF Group. Names in this module are the names of that document.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89HDF\r\n\x1a\n"

MAX_PARTS = 50_000
"""Parts of a file that are read: headers, messages, nodes, links. A network of five members has about 4,000."""

MAX_NAME_BYTES = 256
"""Size of a name. Keras names a layer after its class and number, the training job after its purpose."""

MAX_TREE_DEPTH = 4
"""Levels of the tree of a group. Two hold more than a thousand links."""

_FLOAT32 = bytes.fromhex("11201f00 04000000 0000 2000 17 08 00 17 7f000000")
"""The datatype message of little-endian IEEE float32."""

_DATASPACE, _DATATYPE, _EXTERNAL_FILES, _LAYOUT = 0x01, 0x03, 0x07, 0x08
_FILTERS, _ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 0x0B, 0x0C, 0x10, 0x11
_SHARED = 2
"""Flag of a message that is stored elsewhere."""

_CONTIGUOUS = (3, 1)
"""Version and class of the layout of data in one piece."""

_VARIABLE_TEXT = 9
"""Class of a datatype whose values are in a global heap."""


class Hdf5File:
    """The groups, attributes and arrays of a file, by the addresses of their object headers."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._parts = self._array_bytes = 0
        versions = self._unpack("<8s5B", 0)
        sizes = self._unpack("<2B", 13)
        if versions != (SIGNATURE, 0, 0, 0, 0, 0) or sizes != (8, 8):
            raise ValueError(f"the weights are not HDF5 of version 0: {versions}, {sizes}")
        base, self.root = self._unpack("<Q", 24)[0], self._unpack("<Q", 64)[0]
        if base != 0:
            raise ValueError(f"the HDF5 file begins at {base}")

    def links(self, group: int) -> dict[str, int]:
        """Return the addresses of a group's members by name. Raises ValueError for links that are not plain ones."""
        (message,) = self._messages(group, _SYMBOL_TABLE)
        tree, heap = struct.unpack_from("<2Q", message)
        signature, _, _, segment = self._unpack("<8s3Q", heap)
        if signature != b"HEAP\0\0\0\0":
            raise ValueError(f"there is no heap at {heap}")
        found: dict[str, int] = {}
        for node in self._nodes(tree, MAX_TREE_DEPTH):
            signature, count = self._unpack("<6sH", node)
            if signature != b"SNOD\1\0":
                raise ValueError(f"there is no symbol table node at {node}")
            for entry in range(count):
                offset, address, cached = self._unpack("<2QI", node + 8 + 40 * entry)
                begin = segment + offset
                name = self._raw[begin : self._raw.index(b"\0", begin, begin + MAX_NAME_BYTES)].decode()
                if cached not in (0, 1) or name in found:
                    raise ValueError(f"{name!r} is a symbolic link, or occurs twice")
                found[name] = address
        return found

    def _nodes(self, tree: int, depth: int) -> Iterator[int]:
        """Yield the addresses of the symbol table nodes below a node of the tree."""
        signature, level, used = self._unpack("<5sBH", tree)
        if signature != b"TREE\0" or level >= depth:
            raise ValueError(f"there is no tree of a group at {tree}")
        for child in range(used):
            (address,) = self._unpack("<Q", tree + 32 + 16 * child)
            if level:
                yield from self._nodes(address, level)
            else:
                yield address

    def text(self, header: int, name: str) -> str:
        """Return a text attribute. Raises KeyError, and ValueError for an attribute that is not one text."""
        for message in self._messages(header, _ATTRIBUTE):
            version, name_size, type_size, space_size = struct.unpack_from("<Bx3H", message)
            if version not in (1, 3):
                raise ValueError(f"an attribute has version {version}")
            # Version 1 fills each part up to a multiple of eight; version 3 has one byte more in front.
            begin = 8 if version == 1 else 9
            ends = [begin]
            for size in (name_size, type_size, space_size):
                ends.append(ends[-1] + (size + 7 & ~7 if version == 1 else size))
            if message[ends[0] : ends[0] + name_size] != name.encode() + b"\0":
                continue
            if message[ends[1]] & 0x0F != _VARIABLE_TEXT or _dimensions(message[ends[2] :]) != ():
                raise ValueError(f"the attribute {name!r} is not a text")
            length, heap, index = struct.unpack_from("<IQI", message, ends[3])
            return self._heap_object(heap, index, min(length, MAX_NAME_BYTES)).decode()
        raise KeyError(name)

    def array(self, header: int) -> npt.NDArray[np.float32]:
        """Return the numbers of a dataset. Raises ValueError unless they are float32 in one piece of the file."""
        kinds = dict(self._all_messages(header))
        if _FILTERS in kinds or _EXTERNAL_FILES in kinds:
            raise ValueError("a weight is filtered, or outside of the file")
        if not kinds[_DATATYPE].startswith(_FLOAT32):
            raise ValueError(f"a weight is not float32 but {kinds[_DATATYPE][:20].hex()}")
        *layout, address, size = struct.unpack_from("<2B2Q", kinds[_LAYOUT])
        shape = _dimensions(kinds[_DATASPACE])
        if tuple(layout) != _CONTIGUOUS or size != 4 * math.prod(shape):
            raise ValueError(f"a weight of shape {shape} has layout {layout} and {size} bytes")
        # Arrays that share their bytes would be larger than the file.
        self._array_bytes += size
        if self._array_bytes > len(self._raw):
            raise ValueError("the weights are larger than their file")
        return np.frombuffer(self._bytes(address, size), dtype="<f4").reshape(shape)

    def _heap_object(self, heap: int, index: int, limit: int) -> bytes:
        """Return the first ``limit`` bytes of an object in a global heap."""
        signature, size = self._unpack("<8sQ", heap)
        if signature != b"GCOL\1\0\0\0":
            raise ValueError(f"there is no global heap at {heap}")
        at = heap + 16
        while at < heap + size:
            found, length = self._unpack("<H6xQ", at)
            if found == index:
                return self._bytes(at + 16, min(length, limit))
            at += 16 + (length + 7 & ~7)
        raise ValueError(f"the global heap at {heap} has no object {index}")

    def _messages(self, header: int, kind: int) -> list[bytes]:
        return [message for found, message in self._all_messages(header) if found == kind]

    def _all_messages(self, header: int) -> Iterator[tuple[int, bytes]]:
        """Yield kind and content of the messages of an object header."""
        version, _count, size = self._unpack("<BxH4xI", header)
        if version != 1:
            raise ValueError(f"an object header has version {version}")
        blocks = [(header + 16, size)]
        for begin, length in blocks:
            at = begin
            while at + 8 <= begin + length:
                kind, size, flags = self._unpack("<2HB", at)
                content = self._bytes(at + 8, size)
                if flags & _SHARED:
                    raise ValueError(f"a message of kind {kind} is shared")
                if kind == _CONTINUATION:
                    blocks.append(struct.unpack_from("<2Q", content))
                yield kind, content
                at += 8 + size

    def _unpack(self, kind: str, at: int) -> tuple[Any, ...]:
        """Return the values of one part, which may be read once more."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ValueError(f"the HDF5 file has more than {MAX_PARTS} parts")
        return struct.unpack_from(kind, self._raw, at)

    def _bytes(self, at: int, size: int) -> bytes:
        if at + size > len(self._raw):
            raise ValueError(f"{size} bytes at {at} are outside of the file")
        return self._raw[at : at + size]


def _dimensions(message: bytes) -> tuple[int, ...]:
    """Return the shape in a dataspace message."""
    version, rank = message[0], message[1]
    if version not in (1, 2):
        raise ValueError(f"a dataspace has version {version}")
    return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)
