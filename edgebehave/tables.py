"""Tables and columns of pandas, polars and Arrow as lists. They are recognized by their methods; none is imported."""

from collections.abc import Mapping
from typing import Any

_DEFAULTS = {"user": "user", "event": "event", "time": "time", "location": "location", "utc_offset": "utc_offset_min"}
_NEEDED = ("user", "event", "time")


def is_table(value: object) -> bool:
    """Whether a value is a table of columns, not one column or a list."""
    return (hasattr(value, "columns") or hasattr(value, "column_names")) and hasattr(value, "__getitem__")


def entries_of(column: Any) -> Any:
    """The entries of a column or an array as a list; anything else as it is."""
    for method in ("to_pylist", "to_list", "tolist"):  # Arrow; polars and pandas; numpy
        if hasattr(column, method):
            if getattr(getattr(column, "dtype", None), "kind", "") == "M" and method == "tolist":
                column = column.astype("datetime64[us]")  # in nanoseconds it would give integers
            return getattr(column, method)()
    return column


def present(entry: Any) -> Any:
    """An entry, None if it is missing: NaN of a float, NaT and NA of pandas."""
    if isinstance(entry, str) or entry is None:
        return entry
    if type(entry).__name__ in ("NaTType", "NAType") or (isinstance(entry, float) and entry != entry):
        return None
    return entry


def columns_of(table: Any, names: Mapping[str, str] | None) -> dict[str, list[Any]]:
    """Columns of a table by their part in an event: user, event, time and, where it has them, location and utc_offset.

    names  {part: name of the column}; by default user, event, time, location and utc_offset_min.
    Users, events and locations that are whole numbers become their digits, as in `edgebehave ingest`.
    Raises ValueError for a part or a column that does not exist.
    """
    asked = dict(names or {})
    unknown = sorted(set(asked) - set(_DEFAULTS))
    if unknown:
        raise ValueError(f"columns names {unknown[0]!r}; expected {', '.join(_DEFAULTS)}")
    there = [str(name) for name in getattr(table, "column_names", None) or table.columns]
    found: dict[str, list[Any]] = {}
    for part, default in _DEFAULTS.items():
        name = asked.get(part, default)
        if name in there:
            entries = [present(entry) for entry in entries_of(table[name])]
            is_name = part in ("user", "event", "location")
            found[part] = [_name(entry) for entry in entries] if is_name else [whole(entry) for entry in entries]
        elif part in asked or part in _NEEDED:
            raise ValueError(
                f"the table has no column {name!r} for {part}; pass columns={{{part!r}: NAME}} "
                f"(it has: {', '.join(there[:30])})"
            )
    return found


def _name(entry: Any) -> Any:
    entry = whole(entry)
    return str(entry) if isinstance(entry, int) and not isinstance(entry, bool) else entry


def whole(entry: Any) -> Any:
    """A float without a fraction as an integer: a column with missing entries holds floats."""
    return int(entry) if isinstance(entry, float) and entry.is_integer() else entry
