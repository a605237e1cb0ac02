"""On-device next-behavior prediction: observe what a user does, predict what comes next."""

from typing import TYPE_CHECKING, Any

from edgebehave.bundle import BundleError
from edgebehave.coverage import AdaptiveCoverage
from edgebehave.generation import GeneratedEvent
from edgebehave.habits import HabitWeights
from edgebehave.history import HistoryBusyError, HistoryError
from edgebehave.memory_history import MemoryHistory
from edgebehave.prediction import Prediction
from edgebehave.predictor import Predictor
from edgebehave.version import __version__
from edgebehave.waiting_time import NOTHING

if TYPE_CHECKING:
    from edgebehave.sqlite_history import SqliteHistory

__all__ = [
    "NOTHING",
    "AdaptiveCoverage",
    "BundleError",
    "GeneratedEvent",
    "HabitWeights",
    "HistoryBusyError",
    "HistoryError",
    "MemoryHistory",
    "Prediction",
    "Predictor",
    "SqliteHistory",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Python can be built without SQLite, and most who import this need none.
    if name == "SqliteHistory":
        from edgebehave.sqlite_history import SqliteHistory

        return SqliteHistory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
