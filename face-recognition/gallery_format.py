"""A gallery's file, in torch's own format, read and written without torch.

The file is torch.save([embeddings, names, metadata]): a zip whose data.pkl is a pickle and whose
other members are the tensors' bytes, or the stream that torch wrote before 1.6. A pickle can call
whatever it names, so before one is unpickled its opcodes are checked against those that torch
writes, and while it is, nothing but torch's tensors can be named.

deploy/ reads it too, on Python 3.9 and without NumPy, which only `read` and `write` need.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MAX_BYTES = 500_000_000  # 200,000 photos with facenet-vggface2
MAX_DISTANCE = 2.0  # of two unit vectors, Euclidean or 1 - cosine
MAX_SIDE = 1024  # px of a face's image
MAX_NUMBERS = MAX_BYTES // 2  # of all embeddings; a file may name the same numbers many times

# torch's storages, and NumPy's names for their numbers
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
}
BYTES = {"<f4": 4, "<f8": 8, "<f2": 2, "bfloat16": 2}
OLD_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # of torch before 1.6


class GalleryFormatError(ValueError):
    """The bytes are not a gallery that can be read; the message says why."""


class Contents(NamedTuple):
    """What the file holds: arrays (empty where only metadata was asked for), names, metadata.

    `metadata` is None in the older format of two elements.
    """

    embeddings: list[Any]
    names: list[str]
    metadata: dict[str, Any] | None


class _Storage(NamedTuple):
    dtype: str
    key: str
    data: memoryview


def read(data: bytes) -> Contents:
    """The gallery in its file's bytes, embeddings as NumPy arrays; raises GalleryFormatError."""
    return _read(data, _arrays())


def read_metadata(data: bytes) -> dict[str, Any] | None:
    """The gallery's metadata alone, without NumPy; raises GalleryFormatError as `read` does."""
    return _read(data, lambda *_: None).metadata


def _read(data: bytes, tensor: Any) -> Contents:
    if len(data) > MAX_BYTES:
        raise GalleryFormatError(f"it has {len(data):,} bytes, and {MAX_BYTES:,} are allowed")
    try:
        content = _from_old(data, tensor) if data.startswith(OLD_MAGIC) else _from_zip(data, tensor)
    except GalleryFormatError:
        raise
    except Exception as error:
        # What damaged bytes raise depends on where they stop making sense.
        reason = str(error) or type(error).__name__
        raise GalleryFormatError(
            f"it is damaged, or torch.save did not write it: {reason}"
        ) from error
    return _checked(content)


def _checked(content: Any) -> Contents:
    if not isinstance(content, (list, tuple)) or len(content) not in (2, 3):
        raise GalleryFormatError("it must hold [embeddings, names, metadata]")
    embeddings, names = content[:2]
    metadata = content[2] if len(content) == 3 else None
    if not isinstance(embeddings, (list, tuple)) or not isinstance(names, (list, tuple)):
        raise GalleryFormatError("embeddings and names must be lists")
    if not all(isinstance(name, str) for name in names):
        raise GalleryFormatError("a name is not text")
    if len(content) == 3 and not isinstance(metadata, dict):
        raise GalleryFormatError("its metadata must be a dict")
    check_metadata(metadata or {})
    if sum(getattr(row, "size", 0) for row in embeddings) > MAX_NUMBERS:
        raise GalleryFormatError(f"its embeddings have more than {MAX_NUMBERS:,} numbers")
    return Contents(list(embeddings), list(names), metadata)


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise GalleryFormatError for a threshold that is no distance, or an impossible image_size."""
    for name, high, is_whole in (
        ("threshold", MAX_DISTANCE, False),
        ("image_size", MAX_SIDE, True),
    ):
        if name in metadata:
            _check_number(name, metadata[name], high, is_whole)


def _check_number(name: str, value: Any, high: float, is_whole: bool) -> None:
    low = 1 if is_whole else 0
    # A bool is an int, and NaN is in no range.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (is_whole and value % 1):
        raise GalleryFormatError(
            f"it has the {name} {value!r:.60}: use a {'whole ' if is_whole else ''}number from "
            f"{low} to {high:g}"
        )


# ---- both formats ----------------------------------------------------------------------------


def _from_zip(data: bytes, tensor: Any) -> Any:
    members = _members(data)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise GalleryFormatError("it has no data.pkl, so torch.save did not write it")
    folder = pickles[0][: -len("data.pkl")]
    if bytes(members.get(f"{folder}byteorder", b"little")) != b"little":
        raise GalleryFormatError("it was written on a big-endian machine")

    def storage(pid: tuple[Any, ...]) -> _Storage:
        _, dtype, key, _, _ = pid
        return _Storage(dtype, key, members[f"{folder}data/{key}"])

    return _unpickled(members[pickles[0]], storage, tensor)[0]


def _from_old(data: bytes, tensor: Any) -> Any:
    """Five pickles (magic, version, machine, content, keys), then each key's size and numbers."""
    view = memoryview(data)
    at = len(OLD_MAGIC)
    at += _unpickled(view[at:])[1]
    machine, size = _unpickled(view[at:])
    if not machine["little_endian"]:
        raise GalleryFormatError("it was written on a big-endian machine")
    at += size
    # The content comes before its numbers: once to see what kind they are, once to take them.
    dtypes: dict[str, str] = {}
    _, size = _unpickled(view[at:], lambda pid: dtypes.setdefault(pid[2], pid[1]), lambda *_: None)
    content = view[at : at + size]
    at += size
    keys, size = _unpickled(view[at:])
    at += size
    storages = {}
    for key in keys:
        (count,) = struct.unpack_from("<q", data, at)
        end = at + 8 + count * BYTES[dtypes[key]]
        storages[key] = _Storage(dtypes[key], key, view[at + 8 : end])
        at = end
    return _unpickled(content, lambda pid: storages[pid[2]], tensor)[0]


def _arrays() -> Any:
    """torch._utils._rebuild_tensor_v2 for NumPy, which checks that all lies within the storage."""
    import numpy as np

    def array(storage: _Storage, offset: int, size: Any, stride: Any, *_: Any) -> Any:
        dtype = storage.dtype
        item = BYTES[dtype]
        kind = "<u2" if dtype == "bfloat16" else dtype
        made = np.ndarray(size, kind, storage.data, offset * item, [step * item for step in stride])
        if dtype == "bfloat16":  # the upper half of a float32
            return (made.astype("<u4") << 16).view("<f4")
        return made

    return array


# ---- a zip's members: 100,000 in 0.1 s, for which zipfile takes 0.6 s and more -------------------


def _members(data: bytes) -> dict[str, memoryview]:
    """The bytes of each member of a zip in which nothing is compressed, as torch writes it."""
    view, members = memoryview(data), {}
    at, count = _directory(data)
    central, local = struct.Struct("<10xH8xII3H8xI"), struct.Struct("<26xHH")
    for _ in range(count):
        if data[at : at + 4] != b"PK\1\2":
            raise GalleryFormatError("its zip directory is damaged")
        method, packed, size, name_size, extra, comment, start = central.unpack_from(data, at)
        if method != 0 or packed != size:
            raise GalleryFormatError("it is compressed, so torch.save did not write it")
        name = data[at + 46 : at + 46 + name_size].decode()
        begin = start + 30 + sum(local.unpack_from(data, start))
        if begin + size > len(data):
            raise GalleryFormatError("its zip directory names bytes past the end: it was cut short")
        members[name] = view[begin : begin + size]
        at += 46 + name_size + extra + comment
    return members


def _directory(data: bytes) -> tuple[int, int]:
    """Where the zip's directory begins, and how many members it has."""
    end = data.rfind(b"PK\5\6", max(0, len(data) - 65_557))
    if end < 0 or not data.startswith(b"PK\3\4"):
        raise GalleryFormatError("it is empty, cut short, or not a file that torch.save wrote")
    count, start = struct.unpack_from("<10xH4xI", data, end)
    locator = end - 20
    if locator >= 0 and data[locator : locator + 4] == b"PK\6\7":  # zip64: more than 65,535 members
        (record,) = struct.unpack_from("<8xQ", data, locator)
        count, start = struct.unpack_from("<32xQ8xQ", data, record)
    return start, count


# ---- the pickle ----------------------------------------------------------------------------------

# The opcodes of fixed length that torch writes, memo slots below 4 million: Python's unpickler
# takes memory for as many slots as the highest one, whatever the file's size.
_FIXED = re.compile(
    rb"(?s:[()\]}teuasQRlbN\x85-\x89]|\x80\x02|[Kqh].|M..|[Jj]....|r..[\x00-\x3f]\x00|G.{8})*"
)
_GLOBAL = re.compile(rb"c([\w.]+)\n(\w+)\n")
_LONG = re.compile(rb"(?s:\x8a(.))")


def _end(data: memoryview) -> int:
    """Where the pickle ends; raises GalleryFormatError for an opcode that torch does not write."""
    at = 0
    while True:
        fixed = _FIXED.match(data, at)
        at = fixed.end() if fixed else at
        opcode = bytes(data[at : at + 1])
        if opcode == b".":
            return at + 1
        if opcode == b"X":  # text: its length, its bytes
            (length,) = struct.unpack_from("<I", data, at + 1)
            at += 5 + length
        elif opcode == b"c" and (named := _GLOBAL.match(data, at)):
            at = named.end()
        elif opcode == b"\x8a" and (number := _LONG.match(data, at)):  # a long number
            at += 2 + number[1][0]
        elif at >= len(data):
            raise GalleryFormatError("its pickle has no end: it was cut short")
        else:
            raise GalleryFormatError(
                f"its pickle has the opcode {opcode!r}, which torch never writes"
            )


def _unpickled(data: memoryview, storage: Any = None, tensor: Any = None) -> tuple[Any, int]:
    """What the pickle at the beginning of `data` holds, and its length."""
    size = _end(data)
    return _Unpickler(data[:size], storage, tensor).load(), size


class _Unpickler(pickle.Unpickler):
    """Knows tensors and nothing else."""

    def __init__(self, data: memoryview, storage: Any, tensor: Any) -> None:
        super().__init__(io.BytesIO(data))
        self._storage, self._tensor = storage, tensor

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2") and self._tensor is not None:
            return self._tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict  # a tensor's hooks, always empty
        raise GalleryFormatError(
            f"it would call {module}.{name} when it is read, which no gallery does: do not use it"
        )

    def persistent_load(self, pid: Any) -> Any:
        if self._storage is None or not isinstance(pid, tuple) or pid[0] != "storage":
            raise GalleryFormatError("its pickle refers to something that is not a tensor")
        return self._storage(pid)


# ---- writing -------------------------------------------------------------------------------------


def write(rows: Any, names: Sequence[str], metadata: Mapping[str, str | int | float]) -> bytes:
    """A file that torch.load(weights_only=True) reads: N x D rows become N tensors of 1 x D.

    The tensors share one storage, so a large gallery is read fast. The same gallery gives the same
    bytes.
    """
    import numpy as np

    matrix = np.ascontiguousarray(rows, "<f4")
    if matrix.ndim != 2 or len(matrix) != len(names):
        raise ValueError(f"{len(names)} names need as many rows, not an array of {matrix.shape}")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in (
            ("data.pkl", _pickle(matrix.shape, names, metadata)),
            ("byteorder", b"little"),
            ("data/0", matrix.tobytes()),
            ("version", b"3\n"),
        ):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return file.getvalue()


def _pickle(shape: tuple[int, int], names: Sequence[str], metadata: Mapping[str, Any]) -> bytes:
    """The pickle that torch.save would write, spelt out: Python's pickler needs torch itself."""
    count, length = shape
    storage = [_text("storage"), b"ctorch\nFloatStorage\n", _text("0"), _text("cpu")]
    # What each row needs is spelt out in the first, which keeps it in memo slots 0 to 4.
    once = [
        b"ctorch._utils\n_rebuild_tensor_v2\nq\0",
        _tuple(*storage, _number(count * length)) + b"q\1",
        _tuple(_number(1), _number(length)) + b"q\2",
        _tuple(_number(length), _number(1)) + b"q\3",
        b"ccollections\nOrderedDict\n)Rq\4",  # no hooks
    ]
    again = [b"h" + bytes([slot]) for slot in range(5)]
    rows = []
    for row in range(count):
        function, pid, size, stride, hooks = again if row else once
        offset = _number(row * length)
        rows.append(function + b"(" + pid + b"Q" + offset + size + stride + b"\x89" + hooks + b"tR")
    items = [_text(key) + _scalar(value) for key, value in metadata.items()]
    lists = [b"](", *rows, b"e](", *map(_text, names), b"e}(", *items, b"u"]
    return b"".join([b"\x80\2](", *lists, b"e."])


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _scalar(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return _text(value)
    return _number(value) if isinstance(value, int) else b"G" + struct.pack(">d", value)


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
