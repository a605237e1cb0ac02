"""Checksums of the rows of a history file: a row whose bytes have changed on the disk is found when it is read."""

from typing import Any, NamedTuple
from zlib import crc32


class UserRow(NamedTuple):
    """One user in a history file. The retained events are counted, and their checksums summed, so none can be lost."""

    id: int
    name: str | bytes
    changes: int
    num_events: int
    num_retained: int
    events_sum: int


class SettingsRow(NamedTuple):
    """The settings of a history file. The users are counted, and the checksums of their names summed."""

    max_events: int
    next_life: int
    erase_pending: int
    num_users: int
    names_sum: int


def checksum_of(*values: Any) -> int:
    """CRC-32 of the values of a row as SQLite stores them, -1 if one is of a kind that we do not store."""
    parts = []
    for value in values:
        if value is None:
            parts.append(b"n")
        elif type(value) is int:
            parts.append(b"%d;" % value)
        elif type(value) is str:
            data = value.encode("utf-8", "surrogatepass")
            parts.append(b"t%d:%b" % (len(data), data))
        elif type(value) is bytes:
            parts.append(b"b%d:%b" % (len(value), value))
        else:
            return -1
    return crc32(b"".join(parts))


def is_whole(row: tuple[Any, ...]) -> bool:
    """Whether the last value of a row is the checksum of the others."""
    return bool(checksum_of(*row[:-1]) == row[-1])


def event_checksum(
    user_id: int, time_s: int, arrival: int, utc_offset_min: int, event: str | bytes, location: str | bytes | None
) -> int:
    """The checksum of an event, in the order of the columns of its table."""
    return checksum_of(user_id, time_s, arrival, utc_offset_min, event, location)
