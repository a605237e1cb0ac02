"""On-device next-behavior prediction: observe what a user does, predict what comes next."""

from typing import TYPE_CHECKING, Any

from edgebehave.answers.acting import OperatingPoint, Payoff, operating_points
from edgebehave.answers.coverage import AdaptiveCoverage
from edgebehave.answers.prediction import Prediction
from edgebehave.answers.prediction_table import PredictionTable
from edgebehave.answers.waiting_time import NOTHING
from edgebehave.bundles.manifest import BundleError
from edgebehave.generation import GeneratedEvent
from edgebehave.habits import HabitWeights
from edgebehave.histories.history import DamagedHistoryError, HistoryBusyError, HistoryError
from edgebehave.histories.memory import MemoryHistory
from edgebehave.predictor import Predictor
from edgebehave.version import __version__

if TYPE_CHECKING:
    from edgebehave.histories.rescue import rescue_history
    from edgebehave.histories.sqlite import SqliteHistory

__all__ = [
    "NOTHING",
    "AdaptiveCoverage",
    "BundleError",
    "DamagedHistoryError",
    "GeneratedEvent",
    "HabitWeights",
    "HistoryBusyError",
    "HistoryError",
    "MemoryHistory",
    "OperatingPoint",
    "Payoff",
    "Prediction",
    "PredictionTable",
    "Predictor",
    "SqliteHistory",
    "__version__",
    "operating_points",
    "rescue_history",
]


def __getattr__(name: str) -> Any:
    # Imported when used: some builds of Python have no SQLite, and most apps do not need it.
    if name == "SqliteHistory":
        from edgebehave.histories.sqlite import SqliteHistory

        return SqliteHistory
    if name == "rescue_history":
        from edgebehave.histories.rescue import rescue_history

        return rescue_history
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
