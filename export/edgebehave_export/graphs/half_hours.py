"""The half hour of the week in a graph: one number from which weekday and time slot follow.

The first begins on Thursday at 0:00 of local time, as 1970 did: a node less than from Monday on.
"""

import numpy as np

from edgebehave.time_features import NUM_SLOTS, NUM_WEEKDAYS, SECONDS_PER_SLOT
from edgebehave_export.graphs.graph_builder import GraphBuilder

HALF_HOURS = NUM_WEEKDAYS * NUM_SLOTS
"""Of a week."""
_FIRST_WEEKDAY = 3


def half_hour(graph: GraphBuilder, time_s: str, utc_offset_min: str) -> str:
    """Number 0..335 of the half hour in which a moment lies, int64, from int64 of any shape.

    Integers all along: the second of a week is exact in float32, a UTC second is not.
    """
    offset_s = graph.node("Mul", utc_offset_min, graph.integers([60]))
    local_s = graph.node("Add", time_s, offset_s)
    second = graph.node("Mod", local_s, graph.integers([HALF_HOURS * SECONDS_PER_SLOT]))
    return graph.node("Div", second, graph.integers([SECONDS_PER_SLOT]))


def weekdays_and_slots(graph: GraphBuilder, with_none: bool = True) -> tuple[str, str]:
    """Of the half hours of a week, (336,) each, int32; with_none those of no moment before them,
    weekday 7 and slot 48, (337,).
    """
    numbers = np.arange(HALF_HOURS)
    columns = {
        "weekdays": ((numbers // NUM_SLOTS + _FIRST_WEEKDAY) % NUM_WEEKDAYS, NUM_WEEKDAYS),
        "slots": (numbers % NUM_SLOTS, NUM_SLOTS),
    }
    weekdays, slots = (
        graph.constant(np.append([none] * with_none, values).astype(np.int32), f"{name}_{with_none}")
        for name, (values, none) in columns.items()
    )
    return weekdays, slots
