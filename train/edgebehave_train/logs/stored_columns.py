"""Columns of a store as they lie on disk: the narrowest integers that hold them, read as the wide ones.

A column that is left out has one value everywhere, or is another column once more. Whoever reads a column gets the
types of `COLUMNS`, so that no sum or difference wraps around; only what is asked for is widened.
"""

from collections.abc import Iterator
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

_STORED = {
    "time_s": ("uint32", "int64"),
    "utc_offset_min": ("int16",),
    "event": ("uint8", "uint16", "int32"),
    "location": ("uint8", "uint16", "int32"),
    "behavior": ("int8", "int16", "int32"),
}


class StoredColumn(np.lib.mixins.NDArrayOperatorsMixin):
    """A column of narrow integers that reads as wide ones; a slice is widened when it is taken."""

    def __init__(self, stored: npt.NDArray[Any], dtype: npt.DTypeLike) -> None:
        self.stored, self.dtype = stored, np.dtype(dtype)
        self.shape, self.ndim, self.size = stored.shape, stored.ndim, stored.size

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, which: Any) -> Any:
        return np.asarray(self.stored[which]).astype(self.dtype)[()]

    def __iter__(self) -> Iterator[Any]:
        return iter(np.asarray(self))

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a stored column is widened by a copy")
        return np.array(self.stored, self.dtype if dtype is None else dtype)

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


def open_column(folder: Path, name: str, constant: int | None, num_events: int) -> Any:
    """A column of a store: a memory map, widened where it is narrow.

    constant  the value of a column that is left out.
    Raises ValueError if the file is damaged.
    """
    wide = np.dtype(COLUMNS[name])
    if constant is not None:
        return np.broadcast_to(wide.type(constant), (num_events,))
    stored = np.load(folder / f"{name}.npy", mmap_mode="r")
    if stored.shape != (num_events,) or stored.dtype.name not in {*_STORED[name], wide.name}:
        raise ValueError(f"{folder}/{name}.npy is damaged; ingest the log again")
    return stored if stored.dtype == wide else StoredColumn(stored, wide)
