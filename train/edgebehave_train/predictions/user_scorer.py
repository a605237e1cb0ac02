"""Predictions for one user after the other from what a bundle can see of each, in the memory of one user."""

from datetime import datetime
from pathlib import Path

from edgebehave import MemoryHistory, Prediction, Predictor
from edgebehave.arguments import check_name
from edgebehave.bundles.bundle import open_bundle
from edgebehave.histories.retention import HISTORY_EVENTS
from edgebehave_train.predictions.visible_events import VisibleEvents


class UserScorer:
    """The answers of a `Predictor` that has observed all events of a user, equal to the last bit.

    k   behaviors per user, at most.
    at  the moment to predict for; None: not known.
    """

    def __init__(self, bundle: Path | str, k: int, at: datetime | None = None) -> None:
        opened = open_bundle(bundle)
        self._k, self._at = k, at
        self._num_kept = max(HISTORY_EVENTS, opened.shape.history_events)
        self._history = MemoryHistory(max_events=self._num_kept)
        self._predictor = Predictor(opened, history=self._history, max_ahead=None)

    def new_user(self) -> VisibleEvents:
        """A place for the events of a user."""
        return VisibleEvents(self._num_kept)

    def predict(self, user: str, events: VisibleEvents) -> list[Prediction]:
        """The most probable next behaviors of a user with these events, by name, at least one."""
        user = check_name(user, "user")
        self._history.put(user, events.num_events, events.named())
        try:
            return self._predictor.predict(user, self._k, at=self._at)
        finally:
            self._predictor.forget(user)
