"""On-device next-behavior prediction: observe what a user does, predict what comes next."""

from edgebehave.bundle import BundleError
from edgebehave.habits import HabitWeights
from edgebehave.predictor import Prediction, Predictor
from edgebehave.version import __version__
from edgebehave.waiting_time import NOTHING

__all__ = ["NOTHING", "BundleError", "HabitWeights", "Prediction", "Predictor", "__version__"]
