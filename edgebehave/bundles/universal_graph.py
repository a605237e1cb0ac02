"""predict.onnx of a universal bundle with bound inputs and outputs: one set of arrays for each thread."""

# n behaviors of the past, C candidates, M rows of success, S columns of success

import threading

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.inference import Array, BoundGraph
from edgebehave.bundles.model_shape import PREDICT_GRAPH
from edgebehave.bundles.probe import check_probabilities
from edgebehave.bundles.universal_bundle import UniversalBundle

FloatArray = npt.NDArray[np.float32]


class UniversalGraph(threading.local):
    """Runs the graph of a universal bundle; safe for several threads, each has arrays of its own."""

    def __init__(self, bundle: UniversalBundle) -> None:
        # Runs once in every thread that asks: see threading.local.
        self.bundle = bundle
        shape = bundle.shape
        self._history_room = np.zeros(4 * (shape.read_events + 1), np.float32)
        self._last_room = np.zeros(shape.lookback, np.int64)
        self._probs_room = np.zeros(shape.lookback + 1, np.float32)
        self._success = np.zeros((shape.success_events - 1, shape.success_columns), np.float32)
        self._known = np.zeros(1, np.float32)
        self._row = np.zeros(shape.success_columns, np.float32)
        self._history, self._last = self._history_room[:8].reshape(4, 2), self._last_room[:0]
        self._probs = self._probs_room[:0]  # bound at the first run, as all that varies
        inputs: dict[str, Array] = {"history": self._history, "last": self._last, "success": self._success}
        inputs["known"] = self._known
        self._graph = BoundGraph(bundle.predict, inputs, {"new_success": self._row})

    def run(
        self, past_4n: FloatArray, question: tuple[float, float] | None, last: list[int], success: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Probabilities of the candidates and of any other name, (C + 1,), and the row of the last behavior, (S,).

        past_4n   numbers of names and of locations, days and seconds, see `UniversalBundle`; at most `read_events`.
        question  day and second to predict for; None: not known.
        last      of each different name among the last `lookback` behaviors.
        success   (M - 1, S) rows of the behaviors before the last one.
        """
        num_past, num_names = past_4n.shape[1], len(last)
        if num_past + 1 != self._history.shape[1]:
            self._history = self._history_room[: 4 * (num_past + 1)].reshape(4, num_past + 1)
            self._history[:2, -1] = 0  # the question has no name and no location
            self._graph.bind("history", self._history)
        if num_names + 1 != len(self._probs):
            self._last, self._probs = self._last_room[:num_names], self._probs_room[: num_names + 1]
            self._graph.bind("last", self._last)
            self._graph.bind_output("probs", self._probs)
        history = self._history
        history[:, :-1] = past_4n
        history[2:, -1] = question or past_4n[2:, -1]
        self._last[:] = last
        self._success[:] = success
        self._known[0] = question is not None
        self._graph.run()
        check_probabilities(self._probs, PREDICT_GRAPH)
        return self._probs.copy(), self._row.copy()
