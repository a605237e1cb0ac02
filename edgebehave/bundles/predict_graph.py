"""predict.onnx with bound inputs: one set of arrays for each thread."""

# n behaviors of a history, D width, V behaviors, U spare slots

import threading

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.inference import Array, BoundGraph
from edgebehave.bundles.model_shape import PREDICT_GRAPH
from edgebehave.bundles.probe import check_probabilities
from edgebehave.moments import Moment

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


class PredictGraph(threading.local):
    """Runs the predict graph of a bundle; safe for several threads, each has arrays of its own."""

    def __init__(self, bundle: Bundle) -> None:
        # Runs once in every thread that asks: see threading.local.
        shape = bundle.shape
        self._hidden_1D = np.zeros((1, shape.width), np.float32)
        self._query = np.zeros((4, 1), np.int64)
        self._tail = np.zeros((), np.float32)
        self._probs = np.zeros(shape.num_behaviors + shape.num_spare, np.float32)
        time_s, utc_offset_min, time_known, location = self._query
        given: dict[str, Array] = {
            "hidden": self._hidden_1D,
            "time_s": time_s,
            "utc_offset_min": utc_offset_min,
            "time_known": time_known,
            "location": location,
            "tail": self._tail,
        }
        taken = shape.predict_inputs()
        self._takes_history = "history" in taken
        self._room = np.zeros(4 * shape.habit_events, np.int64)
        self._history_4n: IntArray = self._room[:0].reshape(4, 0)
        inputs = {name: array for name, array in given.items() if name in taken}
        self._graph = BoundGraph(bundle.predict, inputs, {"probs": self._probs})

    def probs(
        self, hidden_1D: FloatArray, moment: Moment | None, location: int, history_4n: IntArray, tail: float = 0.0
    ) -> FloatArray:
        """Probabilities of all ids, (V + U,) float32; column 0 is the unknown behavior.

        moment      None: unknown.
        history_4n  ids of the past behaviors and of their locations, UTC seconds and offsets in
                    minutes, oldest first, as many as the habit kernels look back on.
        tail        strength of the tail shift, 0..1, see `edgebehave.answers.probability_shift`.
        """
        self._hidden_1D[:] = hidden_1D
        self._tail[...] = tail
        time_s, utc_offset_min = moment or (0, 0)
        self._query[:, 0] = time_s, utc_offset_min, moment is not None, location
        if self._takes_history:
            if history_4n.shape != self._history_4n.shape:
                self._history_4n = self._room[: history_4n.size].reshape(history_4n.shape)
                self._graph.bind("history", self._history_4n)
            self._history_4n[:] = history_4n
        self._graph.run()
        check_probabilities(self._probs, PREDICT_GRAPH)
        return self._probs.copy()
