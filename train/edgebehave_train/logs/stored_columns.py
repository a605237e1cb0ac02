"""Columns of a store as they lie on disk: the narrowest integers that hold them, read as the wide ones.

A column that is left out has one value everywhere, or is another column once more. Whoever reads a column gets the
types of `COLUMNS`, so that no sum or difference wraps around; only what is asked for is widened.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

COLUMNS: dict[str, type[np.signedinteger[Any]]] = {
    "time_s": np.int64,
    "utc_offset_min": np.int16,
    "event": np.int32,
    "location": np.int32,
    "behavior": np.int32,
}
"""Columns of a store and the types in which they are read."""

FRACTIONS = "fraction.npy"
"""File of the fractions of a second: uint16 milliseconds, or uint32 microseconds; left out where all are 0.

No model sees them; they are there for the order of events that are added later, and are no part of the fingerprint.
"""

HEADER_BYTES = 128
"""Of a .npy file with one axis, whatever its length."""

_CHUNK_ROWS = 1 << 20

_STORED = {
    "time_s": ("uint32", "int64"),
    "utc_offset_min": ("int16",),
    "event": ("uint8", "uint16", "int32"),
    "location": ("uint8", "uint16", "int32"),
    "behavior": ("int8", "int16", "int32"),
}


class StoredColumn(np.lib.mixins.NDArrayOperatorsMixin):
    """A column of narrow integers that reads as wide ones, perhaps multiplied; a slice is widened when it is taken."""

    def __init__(self, stored: npt.NDArray[Any], dtype: npt.DTypeLike, factor: int = 1) -> None:
        self.stored, self.dtype, self.factor = stored, np.dtype(dtype), factor
        self.shape, self.ndim, self.size = stored.shape, stored.ndim, stored.size

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, which: Any) -> Any:
        wide = np.asarray(self.stored[which]).astype(self.dtype)[()]
        return wide if self.factor == 1 else wide * self.factor

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a stored column is widened by a copy")
        wide = np.array(self.stored, self.dtype if dtype is None else dtype)
        return wide if self.factor == 1 else wide * self.factor

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        wide = [np.asarray(value) if isinstance(value, StoredColumn) else value for value in inputs]
        return getattr(ufunc, method)(*wide, **options)

    def __getattr__(self, name: str) -> Any:
        """Every other method of an array, on the whole column."""
        if name.startswith("__") or "stored" not in vars(self):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)


def narrow_type(kind: str, num_names: int) -> np.dtype[Any]:
    """The type on disk of a column of ids.

    kind       "event", "location" or "behavior".
    num_names  of the vocabulary, position 0 included.
    """
    return next(np.dtype(t) for t in _STORED[kind] if num_names - 1 <= np.iinfo(t).max)


def open_column(folder: Path, file: str, name: str, constant: int | None, num_events: int) -> Any:
    """A column of a store: a memory map, widened where it is narrow.

    file      the column whose file holds it.
    constant  the value of a column that is left out.
    Raises ValueError if the file is damaged.
    """
    wide = np.dtype(COLUMNS[name])
    if constant is not None:
        return np.broadcast_to(wide.type(constant), (num_events,))
    stored = _opened(folder, file, {*_STORED[file], wide.name})
    if len(stored) != num_events:
        raise damage(folder, f"{file}.npy", f"{len(stored)} rows for {num_events} events")
    return stored if stored.dtype == wide else StoredColumn(stored, wide)


def open_fractions(folder: Path, num_events: int) -> "StoredColumn | None":
    """Microseconds beyond the second of each event; None if all are 0. Raises ValueError if the file is damaged."""
    if not (folder / FRACTIONS).exists():
        return None
    stored = _opened(folder, FRACTIONS.removesuffix(".npy"), {"uint16", "uint32"})
    if len(stored) != num_events:
        raise damage(folder, FRACTIONS, f"{len(stored)} rows for {num_events} events")
    return StoredColumn(stored, np.int64, factor=1000 if stored.dtype == np.uint16 else 1)


def open_wide(folder: Path, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The values of a column that is stored as it is read. Raises ValueError if the file is damaged."""
    return np.array(_opened(folder, name, {np.dtype(dtype).name}))


def _opened(folder: Path, name: str, types: set[str]) -> npt.NDArray[Any]:
    """A column as a memory map. Raises ValueError if it is none of these types."""
    file = folder / f"{name}.npy"
    try:
        column: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise damage(folder, file.name, str(error)) from None
    if column.ndim != 1 or column.dtype.name not in types or file.stat().st_size != HEADER_BYTES + column.nbytes:
        expected = " or ".join(sorted(types))
        raise damage(folder, file.name, f"{column.dtype} {column.shape}, expected a column of {expected}")
    return column


def damage(folder: Path, name: str, what: str) -> ValueError:
    """The error of a damaged file."""
    return ValueError(f"{folder / name} is damaged: {what}; ingest the log again")


def fingerprint(folder: Path, statistics: Mapping[str, Any]) -> str:
    """SHA-256 of the columns (name and little-endian values), the users and the vocabulary.

    The columns count in the types in which they are read, so that a store keeps its fingerprint in another format.
    """
    digest = hashlib.sha256()
    types: dict[str, npt.DTypeLike] = {**COLUMNS, "user_start": np.int64}
    for name, dtype in types.items():
        digest.update(f"{name}\n".encode())
        wide = np.dtype(dtype).newbyteorder("<")
        file = "event" if name == "behavior" and statistics.get("behavior_is_event") else name
        constant = statistics.get("constants", {}).get(name)
        if constant is None:
            for piece in pieces(folder / f"{file}.npy"):
                digest.update(np.ascontiguousarray(piece, wide).data)
            continue
        num_events = statistics["num_events"]
        for start in range(0, num_events, _CHUNK_ROWS):
            digest.update(np.full(min(_CHUNK_ROWS, num_events - start), constant, wide).data)
    for name in ("users.json", "vocabulary.json"):
        digest.update(f"{name}\n".encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def pieces(path: Path) -> Iterator[npt.NDArray[Any]]:
    """The values of a column, a bounded number at a time, read and not mapped."""
    dtype = np.load(path, mmap_mode="r").dtype
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        while data := file.read(_CHUNK_ROWS * dtype.itemsize):
            yield np.frombuffer(data, dtype)
