"""A gallery's file, in torch's own format, read and written without torch.

The file is torch.save([embeddings, names, metadata]): a zip whose data.pkl is a pickle and whose
other members are the tensors' bytes, or the stream that torch wrote before 1.6. A pickle can call
whatever it names, so before one is unpickled its opcodes are checked against those that torch
writes, and while it is, nothing but torch's tensors can be named.

deploy/ reads it too, on Python 3.9 and without NumPy, which only `read` and `write` need.
"""

from __future__ import annotations

import gc
import io
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from math import prod
from typing import Any, NamedTuple

MAX_BYTES = 600_000_000  # a million photos with sface, 280,000 with facenet-vggface2
MAX_DISTANCE = 2.0  # of two unit vectors, Euclidean or 1 - cosine
MAX_SIDE = 1024  # px of a face's image

# torch's storages, and NumPy's names for their numbers
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
}
BYTES = {"<f4": 4, "<f8": 8, "<f2": 2, "bfloat16": 2}
ROWS_AT_ONCE = 10_000  # copied
OLD_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # of torch before 1.6


class GalleryFormatError(ValueError):
    """The bytes are not a gallery that can be read; the message says why."""


class Contents(NamedTuple):
    """What the file holds: one row of float32 per name, the names, the metadata.

    `metadata` is None in the older format of two elements.
    """

    matrix: Any
    names: list[str]
    metadata: dict[str, Any] | None


# Where something is in the file: its first byte, and the one after its last.
_Span = tuple[int, int]


def read(data: bytes) -> Contents:
    """The gallery in its file's bytes; raises GalleryFormatError."""
    return _read(data, _matrix)


def read_metadata(data: bytes) -> dict[str, Any] | None:
    """The gallery's metadata alone, without NumPy; raises GalleryFormatError.

    What `read` would find wrong with the numbers is not looked at.
    """
    return _read(data, lambda *_: None).metadata


def _read(data: bytes, matrix: Callable[..., Any]) -> Contents:
    if len(data) > MAX_BYTES:
        raise GalleryFormatError(f"it has {len(data):,} bytes, and {MAX_BYTES:,} are allowed")
    try:
        with _no_garbage_collection():
            return _contents(data, matrix)
    except GalleryFormatError:
        raise
    except Exception as error:
        # What damaged bytes raise depends on where they stop making sense.
        reason = str(error) or type(error).__name__
        raise GalleryFormatError(
            f"it is damaged, or torch.save did not write it: {reason}"
        ) from error


def _contents(data: bytes, matrix: Callable[..., Any]) -> Contents:
    content, place = _from_old(data) if data.startswith(OLD_MAGIC) else _from_zip(data)
    embeddings, names, metadata = _checked(content)
    return Contents(matrix(data, embeddings, place), names, metadata)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Do not look for garbage among millions of new objects, which takes as long as making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _checked(content: Any) -> tuple[list[Any], list[str], dict[str, Any] | None]:
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
    return list(embeddings), list(names), metadata


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise GalleryFormatError if the threshold is not a distance or the image_size impossible."""
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


def _from_zip(data: bytes) -> tuple[Any, Callable[[Any], _Span]]:
    """The content, and where the storage of a tensor's persistent ID is."""
    members = _members(data)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise GalleryFormatError("it has no data.pkl, so torch.save did not write it")
    folder = pickles[0][: -len("data.pkl")]
    view = memoryview(data)
    if (order := members.get(f"{folder}byteorder")) and data[slice(*order)] != b"little":
        raise GalleryFormatError("it was written on a big-endian machine")
    content = _unpickled(view[slice(*members[pickles[0]])])[0]
    return content, lambda pid: members[f"{folder}data/{pid[2]}"]


def _from_old(data: bytes) -> tuple[Any, Callable[[Any], _Span]]:
    """Five pickles (magic, version, machine, content, keys), then each key's size and numbers."""
    view = memoryview(data)
    at = len(OLD_MAGIC)
    at += _unpickled(view[at:])[1]
    machine, size = _unpickled(view[at:])
    if not machine["little_endian"]:
        raise GalleryFormatError("it was written on a big-endian machine")
    at += size
    content, size = _unpickled(view[at:])
    at += size
    dtypes = {one.args[0][2]: one.args[0][1] for one in content[0] if type(one) is partial}
    keys, size = _unpickled(view[at:])
    at += size
    storages = {}
    for key in keys:
        (count,) = struct.unpack_from("<q", data, at)
        end = at + 8 + count * BYTES[dtypes[key]]
        if not at + 8 <= end <= len(data):
            raise GalleryFormatError("it ends within its numbers: it was cut short")
        storages[key] = at + 8, end
        at = end
    return content, lambda pid: storages[pid[2]]


def _matrix(data: bytes, embeddings: list[Any], place: Callable[[Any], _Span]) -> Any:
    """The tensors' numbers as float32, one row for each."""
    import numpy as np

    if not all(type(tensor) is partial for tensor in embeddings):
        raise GalleryFormatError("an embedding is not a float tensor")
    # (persistent ID, offset, size, stride, ...) of torch._utils._rebuild_tensor_v2
    tensors = [tensor.args for tensor in embeddings]
    kinds = {(pid[1], size, stride) for pid, _, size, stride, *_ in tensors}
    lengths = {prod(size) for _, size, _ in kinds}
    if len(lengths) > 1:
        raise GalleryFormatError("its embeddings have different lengths")
    length = lengths.pop() if lengths else 0
    if length * len(tensors) > len(data) // min(BYTES.values()):
        # They may name the same numbers many times.
        raise GalleryFormatError("its embeddings have more numbers than the file")
    if len(kinds) == 1:
        ((dtype, size, stride),) = kinds
        if min(size, default=0) > 0 and _is_contiguous(size, stride):
            return _rows(data, tensors, dtype, length, place)
    # NumPy checks that all lies within the storage.
    rows = np.empty((len(tensors), length), np.float32)
    for index, (pid, offset, size, stride, *_) in enumerate(tensors):
        begin, end = place(pid)
        item, numbers = BYTES[pid[1]], memoryview(data)[begin:end]
        steps = [step * item for step in stride]
        made = np.ndarray(size, _kind(pid[1]), numbers, offset * item, steps)
        rows[index] = _as_float(made, pid[1]).ravel()
    return rows


def _is_contiguous(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether a tensor's numbers follow each other."""
    contiguous = tuple(prod(size[place + 1 :]) for place in range(len(size)))
    return contiguous == stride or (len(size) == 2 and size[0] == 1 and stride[1] == 1)


def _rows(
    data: bytes, tensors: list[Any], dtype: str, length: int, place: Callable[[Any], _Span]
) -> Any:
    """Rows of consecutive numbers, copied without an array for each."""
    import numpy as np

    kind, item, view = _kind(dtype), BYTES[dtype], memoryview(data)
    size = length * item
    rows = np.empty((len(tensors), length), np.float32)
    last, begin, end = None, 0, 0
    for done in range(0, len(tensors), ROWS_AT_ONCE):
        slices = []
        for pid, offset, *_ in tensors[done : done + ROWS_AT_ONCE]:
            if pid is not last:  # a file written here has one storage
                (begin, end), last = place(pid), pid
            at = begin + offset * item
            if not begin <= at <= end - size:
                raise GalleryFormatError("a tensor does not lie within its storage")
            slices.append(view[at : at + size])
        numbers = np.frombuffer(b"".join(slices), kind).reshape(-1, length)
        rows[done : done + len(slices)] = _as_float(numbers, dtype)
    return rows


def _kind(dtype: str) -> str:
    """NumPy's name for the numbers as they are in the file."""
    return "<u2" if dtype == "bfloat16" else dtype


def _as_float(numbers: Any, dtype: str) -> Any:
    """Numbers of the file's kind as NumPy's floats."""
    if dtype == "bfloat16":  # the upper half of a float32
        return (numbers.astype("<u4") << 16).view("<f4")
    return numbers


# ---- a zip's members: 100,000 in 0.1 s, for which zipfile takes 0.6 s and more -------------------


def _members(data: bytes) -> dict[str, _Span]:
    """Where each member of a zip is in which nothing is compressed, as torch writes it."""
    members = {}
    size_of_file = len(data)
    at, count = _directory(data)
    central, local = struct.Struct("<10xH8xII3H8xI"), struct.Struct("<26xHH")
    for _ in range(count):
        if data[at : at + 4] != b"PK\1\2":
            raise GalleryFormatError("its zip directory is damaged")
        method, packed, size, name_size, extra, comment, start = central.unpack_from(data, at)
        if method != 0 or packed != size:
            raise GalleryFormatError("it is compressed, so torch.save did not write it")
        name = data[at + 46 : at + 46 + name_size].decode()
        local_name, local_extra = local.unpack_from(data, start)
        begin = start + 30 + local_name + local_extra
        if begin + size > size_of_file:
            raise GalleryFormatError("its zip directory names bytes past the end: it was cut short")
        members[name] = begin, begin + size
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

# The opcodes that torch writes, and texts of less than 32 bytes. Python's unpickler takes memory
# for as many memo slots as the highest one, so a slot may not be far above the file's size.
_SHORT_TEXTS = b"|".join(re.escape(bytes([size])) + b"\\0\\0\\0.{%d}" % size for size in range(32))
_OPCODES = (
    rb"(?s:[()\]}teuasQRlbN\x85-\x89]|[Kqh].|r..[\x00-%b]\x00|X(?:%b)|[Jj]....|M..|\x80\x02|G.{8}"
    rb"|c[\w.]+\n\w+\n){1,1000}"
)
_LONG = re.compile(rb"(?s:\x8a(.))")


@cache
def _opcodes(highest: int) -> re.Pattern[bytes]:
    """Many opcodes in one, with memo slots up to `highest` times 65,536."""
    return re.compile(_OPCODES % (b"\\x%02x" % highest, _SHORT_TEXTS))


def _end(data: memoryview) -> int:
    """Where the pickle ends; raises GalleryFormatError for an opcode that torch does not write."""
    opcodes = _opcodes(min(len(data) >> 16, 255))
    at = 0
    while True:
        while many := opcodes.match(data, at):
            at = many.end()
        opcode = bytes(data[at : at + 1])
        if opcode == b".":
            return at + 1
        if opcode == b"X":  # text: its length, its bytes
            (length,) = struct.unpack_from("<I", data, at + 1)
            at += 5 + length
        elif opcode == b"\x8a" and (number := _LONG.match(data, at)):  # a long number
            at += 2 + number[1][0]
        elif at >= len(data):
            raise GalleryFormatError("its pickle has no end: it was cut short")
        else:
            raise GalleryFormatError(
                f"its pickle has the opcode {opcode!r}, which torch never writes"
            )


def _unpickled(data: memoryview) -> tuple[Any, int]:
    """What the pickle at the beginning of `data` holds, and its length.

    A tensor is a `partial` with the arguments of torch's function.
    """
    size = _end(data)
    return _Unpickler(io.BytesIO(data[:size])).load(), size


def _no_tensor(*_: Any) -> None:
    """What a tensor's `partial` would call; nobody does."""


class _Unpickler(pickle.Unpickler):
    """Knows tensors and nothing else."""

    # Called for each tensor, and therefore written in C: it returns the ID itself.
    persistent_load = staticmethod(tuple)

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return partial(partial, _no_tensor)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict  # a tensor's hooks, always empty
        raise GalleryFormatError(
            f"it would call {module}.{name} when it is read, which no gallery does: do not use it"
        )


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
