"""Arrays out of pickles, without running anything that a pickle names.

A pickle is a program.  Here its opcodes are read first, and one that is not in `ALLOWED`, or a
memo that is larger than the file, ends the reading.  What it names is looked up in a list of a
few constructors, each of them this module's own: neither NumPy nor torch is called with what a
file says before that was checked.

Three containers: a plain pickle; a zip archive of torch.save (1.6 and later), of which only
`data.pkl` and the storages are read; the older stream of torch.save, pickles and then storages.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

import numpy as np

from lilliput.errors import FormatError
from lilliput.ir.types import Array

ZIP: Final = b"PK\x03\x04"
MAGIC: Final = 0x1950A86A20F9469CFC6C
"""What the older files of torch.save begin with, as a pickled integer."""
MAX_BYTES: Final = 1 << 29
"""Of all arrays of a file together, unpacked."""

_OPCODES = """
    PROTO FRAME STOP MARK POP_MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE DICT LIST TUPLE TUPLE1
    TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2
    LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINPUT LONG_BINPUT MEMOIZE
    BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
"""
ALLOWED: Final = frozenset(_OPCODES.split())

_KINDS: Final = {
    "b1": np.bool_,
    "i1": np.int8,
    "u1": np.uint8,
    "i2": np.int16,
    "u2": np.uint16,
    "i4": np.int32,
    "i8": np.int64,
    "f2": np.float16,
    "f4": np.float32,
    "f8": np.float64,
}
_STORAGES: Final = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}


class _Dict(dict[Any, Any]):
    """A dictionary whose further attributes (torch's `_metadata`) are not kept."""

    def __setstate__(self, state: object) -> None:
        pass


class _Kind:
    """What `numpy.dtype(code, False, True)` is, and then its byte order."""

    def __init__(self, code: object, *_: object):
        self.code, self.order = code, "<"

    def __setstate__(self, state: object) -> None:
        _, self.order, *_ = (*_items(state), "<", "<")

    @property
    def dtype(self) -> np.dtype[Any]:
        kind = _KINDS.get(self.code) if isinstance(self.code, str) else None
        if kind is None or self.order not in ("<", "|", "="):
            raise FormatError(
                "an array of this element type",
                expected="numbers, least significant byte first",
                found=f"{self.code!s:.20} {self.order!s:.20}",
            )
        return np.dtype(kind)


class _Held:
    """An array of a pickle, before it was looked at; `state` as NumPy writes it."""

    state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def array(self) -> Array:
        match _items(self.state):
            case (_, shape, _Kind() as kind, bool() as fortran, bytes() as data):
                return _shaped(data, kind.dtype, shape, "F" if fortran else "C")
            case _:
                raise FormatError("an array that NumPy has not written")


class _Storage:
    """The numbers of one or more tensors; `data` comes later in the older files."""

    def __init__(self, kind: object, key: object, size: object):
        if not (isinstance(kind, str) and isinstance(key, str) and isinstance(size, int)):
            raise FormatError("a storage that torch has not written")
        self.dtype = _Kind(_STORAGES[kind]).dtype
        self.key, self.size, self.data = key, size, b""


class _Tensor:
    """A strided view of a storage."""

    def __init__(self, storage: object, offset: object, size: object, stride: object, *_: object):
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self) -> Array:
        storage, offset = self.storage, self.offset
        size, stride = _extents(self.size), _extents(self.stride)
        if not isinstance(storage, _Storage) or not isinstance(offset, int) or offset < 0:
            raise FormatError("a tensor that torch has not written")
        flat = _shaped(storage.data, storage.dtype, (storage.size,), "C")
        if len(size) != len(stride) or math.prod(size) > flat.size:
            raise FormatError("a tensor that torch has not written", found=f"{size} at {stride}")
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if math.prod(size) and last >= flat.size:
            raise FormatError("a tensor reaches beyond its storage", found=f"{size} at {stride}")
        steps = [s * flat.itemsize for s in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], size, steps).copy()


def _items(value: object) -> tuple[object, ...]:
    """The elements of a tuple; none where `value` is something else."""
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()


def _extents(value: object) -> tuple[int, ...]:
    """`value` as a shape; raises FormatError."""
    found = tuple(n for n in _items(value) if type(n) is int and n >= 0)
    if not isinstance(value, tuple) or len(found) != len(cast("tuple[object, ...]", value)):
        raise FormatError("a shape", expected="whole numbers", found=f"{value!s:.40}")
    return found


def _shaped(data: bytes, dtype: np.dtype[Any], shape: object, order: Literal["C", "F"]) -> Array:
    extents = _extents(shape)
    if math.prod(extents) * dtype.itemsize != len(data):
        raise FormatError(
            "an array's bytes do not make its shape", expected=extents, found=f"{len(data)} bytes"
        )
    return np.frombuffer(data, dtype).reshape(extents, order=order)


def _bytes(text: object, encoding: object) -> bytes:
    """`_codecs.encode(text, "latin1")`: how protocol 2 holds bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise FormatError("bytes in this encoding", expected="latin1", found=f"{encoding!s:.20}")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise FormatError("bytes that are no bytes") from None


def _scalar(kind: object, data: object) -> float | int | bool:
    if not isinstance(kind, _Kind) or not isinstance(data, bytes):
        raise FormatError("a number that NumPy has not written")
    return _shaped(data, kind.dtype, (), "C").item()


def _held(*_: object) -> _Held:
    return _Held()


_NAMES: Final[dict[tuple[str, str], object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _held,
    ("numpy._core.multiarray", "_reconstruct"): _held,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _bytes,
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    **{("torch", name): name for name in _STORAGES},
}


class _Reader(pickle.Unpickler):
    """Makes what `_NAMES` lists; `held`: key -> storage."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.held: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise FormatError(
                "the pickle names something else than arrays",
                expected="array and tensor constructors",
                found=f"{module}.{name}"[:80],
                hint="nothing of it was run; save the weights alone (a state_dict, arrays)",
            ) from None

    def persistent_load(self, pid: object, /) -> _Storage:
        match _items(pid):
            case ("storage", kind, key, _, size, *view) if not any(v is not None for v in view):
                storage = _Storage(kind, key, size)
                return self.held.setdefault(storage.key, storage)
            case _:
                raise FormatError("a storage that torch has not written")


def is_pickle(data: bytes) -> bool:
    """Whether `data` begins like a pickle of protocol 2 or later, or an archive of torch.save."""
    archive = data[:4] == ZIP and b"/data.pkl" in data[:256]
    return archive or (data[:1] == b"\x80" and data[1:2] in (b"\2", b"\3", b"\4", b"\5"))


def read_pickle(data: bytes) -> Any:
    """The dictionaries, lists, numbers, strings and arrays that `data` holds.

    Arrays come as what `array` takes.  Raises FormatError for anything else, having run nothing.
    """
    try:
        if data[:4] == ZIP:
            return _read_archive(data)
        file = io.BytesIO(data)
        value, reader = _load(file)
        if value != MAGIC:
            return value
        for _ in ("version of the protocol", "sizes of C's types"):
            _load(file)
        value, reader = _load(file)
        keys, _ = _load(file)
        _read_storages(file, reader.held, keys)
        return value
    except FormatError:
        raise
    except Exception as e:  # whatever a mutated pickle makes of the machine that reads it
        raise FormatError(
            "the pickle cannot be read", found=f"{type(e).__name__}: {e}"[:200]
        ) from e


def array(value: object) -> Array | None:
    """The array that a value of `read_pickle` is; None where it is none; raises FormatError."""
    return value.array() if isinstance(value, _Held | _Tensor) else None


def _load(file: io.BytesIO) -> tuple[Any, _Reader]:
    """The next pickle of a file, checked before it is run."""
    start, most = file.tell(), len(file.getbuffer())
    for op, arg, at in pickletools.genops(file):
        refused = op.name not in ALLOWED
        if refused or ("PUT" in op.name and isinstance(arg, int) and arg > most):
            what = op.name if refused else f"{op.name} {arg}"
            raise FormatError(f"opcode {what} of the pickle at byte {at} is not accepted")
    end = file.tell()
    file.seek(start)
    reader = _Reader(io.BytesIO(file.read(end - start)))
    return reader.load(), reader


def _read_storages(file: io.BytesIO, held: Mapping[str, _Storage], keys: object) -> None:
    """What follows the pickles in an older file: for each key its number of elements, and those."""
    if not isinstance(keys, list):
        raise FormatError("the list of storages is missing")
    for key in cast("list[str]", keys):
        storage = held[key]
        (size,) = struct.unpack("<q", file.read(8))
        if size != storage.size:
            raise FormatError("a storage of another size", expected=storage.size, found=size)
        storage.data = file.read(size * storage.dtype.itemsize)


def _read_archive(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {i.filename: i for i in archive.infolist()}
        if sum(i.file_size for i in members.values()) > MAX_BYTES:
            raise FormatError("the archive is too large", expected=f"{MAX_BYTES} bytes at most")
        found = [n for n in members if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(found) != 1:
            raise FormatError("the archive holds no data.pkl", found=str(list(members)[:4]))
        value, reader = _load(io.BytesIO(archive.read(found[0])))
        folder = found[0].removesuffix("data.pkl")
        for key, storage in reader.held.items():
            storage.data = archive.read(f"{folder}data/{key}")
    return value
