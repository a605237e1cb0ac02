"""Generated events of a user, drawn one after the other: time, behavior, event, and location.

    gap ~ p(gap | h)      time = last + gap          behavior ~ p(b | h, time), habits included
    event ~ p(e | b, z)   location ~ p(l | e, z)

The algorithm is that of `edgebehave_train.generation.futures`: the network reads generated events, and the
kernels take the latest of them as the last behavior, but the kernels copy only from observed events. If
generated behaviors were copied too, each random draw would become more probable by itself. Probabilities
are those of the model, without the calibration of predictions. The offset of local time stays that of the
last event. Events without a behavior are never generated.
"""

# n behaviors of a history, B bins, Q waiting times in a bin, V behaviors, U spare slots

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt

from edgebehave.answers.sampling import Sampling
from edgebehave.answers.waiting_time import WaitingTime, clock_rates, shares_in_bins
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.inference import run_graph
from edgebehave.bundles.manifest import BundleError
from edgebehave.bundles.model_shape import LOCATION_GRAPH, LOCATION_INPUTS, NEXT_GRAPH, WAIT_GRAPH, WAIT_INPUTS
from edgebehave.bundles.network_state import NetworkState
from edgebehave.bundles.probe import check_location, check_next, check_some, check_waiting_times
from edgebehave.histories.mapped_history import PrivateNames
from edgebehave.histories.rolling_events import IdEvents
from edgebehave.moments import Moment
from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]

DRAWS = 4
"""Uniform numbers that one event takes: for gap, behavior, event, location."""

_LATEST_S = 253_370_764_800
"""The end of the year 9998: a datetime ends with the next one."""


@dataclass(frozen=True, slots=True)
class GeneratedEvent:
    """A possible future event.

    location        None: no location, or a location that the vocabulary does not hold.
    time_s          UTC seconds since 1970.
    utc_offset_min  minutes to add for local time.
    """

    event: str
    behavior: str
    location: str | None
    time_s: int
    utc_offset_min: int

    @property
    def at(self) -> datetime:
        """Its time, in the user's local time."""
        zone = timezone(timedelta(minutes=self.utc_offset_min))
        return datetime.fromtimestamp(self.time_s, zone)


class Future:
    """The future of one user: each `step` generates the next event."""

    def __init__(
        self,
        bundle: Bundle,
        state: NetworkState,
        events: IdEvents,
        past_4n: IntArray,
        candidates: Sequence[str],
        own_locations: PrivateNames,
        moment: Moment | None,
    ) -> None:
        """The future from the latest event on, or from a later moment without a further event.

        bundle         a bundle with `generation`.
        state          after the latest event; it is advanced: pass a copy.
        events         the events that the kernels look back on.
        past_4n        those of them that have a behavior, ids below V + U; rows as predict.onnx takes them, n >= 1.
        candidates     names of the behaviors from id 1 up.
        own_locations  names of the locations that the vocabulary does not hold.
        """
        assert bundle.generation is not None
        self._bundle, self._heads, self._state = bundle, bundle.generation, state
        self._candidates, self._own_locations = candidates, own_locations
        self._events_of_behavior = np.array(bundle.vocabulary.event_to_behavior)
        self._now_s, self._utc_offset_min = int(events.time_s[-1]), int(events.utc_offset_min[-1])
        if moment is not None:
            self._now_s = max(self._now_s, moment.time_s)
            self._utc_offset_min = moment.utc_offset_min
        self._history_4n = np.ascontiguousarray(past_4n)
        self._num_real = past_4n.shape[1]
        kept = np.flatnonzero(events.behavior != NO_BEHAVIOR)
        # Events of the user from each past behavior up to the latest event, itself included.
        self._num_since = len(events.behavior) - kept
        event, own_event = events.event[kept], bundle.shape.num_events + past_4n[0]
        self._history_event = np.where(event != UNKNOWN, event, own_event)
        time_s, utc_offset_min = past_4n[2:, None]
        self._clock_rate = clock_rates(time_s, utc_offset_min, np.ones_like(time_s, bool), self._heads.clock_rate)

    def step(self, pick_4: npt.NDArray[np.float64], sampling: Sampling) -> GeneratedEvent:
        """The next event, by four uniform numbers in [0, 1)."""
        last_s = int(self._history_4n[2, -1])
        time_s = last_s + self._gap().draw(pick_4[0], self._now_s - last_s)
        if time_s > _LATEST_S:
            raise BundleError(f"{WAIT_GRAPH} leads beyond the year 9998; export the bundle again from its checkpoint")
        self._now_s = time_s
        behavior, event, z_1D = self._what(pick_4[1:3], sampling)
        identity = event if event != UNKNOWN else self._bundle.shape.num_events + behavior
        location = self._where(z_1D, identity, pick_4[3], sampling)
        self._append(behavior, event, identity, location)
        vocabulary, behavior_name = self._bundle.vocabulary, self._candidates[behavior - 1]
        return GeneratedEvent(
            event=behavior_name if event == UNKNOWN else vocabulary.events[event],
            behavior=behavior_name,
            location=self._location_name(location),
            time_s=time_s,
            utc_offset_min=self._utc_offset_min,
        )

    def _asked(self) -> dict[str, npt.NDArray[np.generic]]:
        """The inputs of the graphs that describe the past and the moment."""
        return {
            "hidden": self._state.hidden,
            "time_s": np.array([self._now_s]),
            "utc_offset_min": np.array([self._utc_offset_min]),
            "history": self._history_4n,
            "num_real": np.array(self._num_real),
        }

    def _gap(self) -> WaitingTime:
        asked = {name: self._asked()[name] for name in WAIT_INPUTS}
        assert self._bundle.wait is not None
        gap_s, probs = run_graph(self._bundle.wait, ["gap_s", "probs"], asked)
        check_waiting_times(gap_s, probs, len(self._num_since), self._heads.num_quantiles)
        in_bins = gap_s[: len(gap_s) - len(self._num_since)]
        shares_UBQ = shares_in_bins(
            self._clock_rate,
            self._history_4n[2, -1:],
            np.array([self._utc_offset_min]),
            in_bins.reshape(-1, self._heads.num_quantiles),
        )
        return WaitingTime(gap_s=gap_s, probs=probs).in_hours(shares_UBQ[0])

    def _what(self, pick_2: FloatArray, sampling: Sampling) -> tuple[int, int, npt.NDArray[np.float32]]:
        """Behavior; event, UNKNOWN if the behavior is an own name of the user; z, the state at the drawn moment."""
        asked = {name: self._asked()[name] for name in self._bundle.shape.next_inputs()}
        probs, scores, z_1D = run_graph(self._heads.next, ["probs", "event_scores", "z"], asked)
        check_next(self._bundle.shape, probs, scores, z_1D)
        probs[0] = 0  # the unknown behavior
        candidates = probs[: 1 + len(self._candidates)]
        check_some(candidates, NEXT_GRAPH)
        behavior = _draw(candidates, pick_2[0], sampling)
        stand_for = np.flatnonzero(self._events_of_behavior == behavior)
        if not len(stand_for):
            return behavior, UNKNOWN, z_1D
        likely = np.exp(scores[stand_for] - scores[stand_for].max())
        return behavior, int(stand_for[_draw(likely, pick_2[1], sampling)]), z_1D

    def _where(self, z_1D: npt.NDArray[np.float32], event: int, pick: float, sampling: Sampling) -> int:
        """Draw the location: an id of the vocabulary, or of an own location of the user."""
        given = self._asked() | {"z": z_1D, "event": np.array([event]), "history_event": self._history_event}
        asked = {name: given[name] for name in LOCATION_INPUTS}
        known, copied = run_graph(self._heads.location, ["probs", "copied"], asked)
        check_location(self._bundle.shape, known, copied, len(self._num_since))
        location, num_known = self._history_4n[1], len(known)
        own = np.unique(location[location >= num_known])
        column = np.where(location < num_known, location, num_known + np.searchsorted(own, location))
        probs = np.concatenate([known, np.zeros(len(own), known.dtype)])
        np.add.at(probs, column, copied)
        check_some(probs, LOCATION_GRAPH)
        drawn = _draw(probs, pick, sampling)
        return drawn if drawn < num_known else int(own[drawn - num_known])

    def _append(self, behavior: int, event: int, identity: int, location: int) -> None:
        """Add the drawn event, and drop events that are now too far back."""
        time_s, utc_offset_min = self._now_s, self._utc_offset_min
        self._state.step(event, location, time_s, utc_offset_min)
        since = np.append(self._num_since + 1, 1)
        first = int(np.searchsorted(-since, -self._bundle.shape.habit_events))
        newest = np.array([[behavior], [location], [time_s], [utc_offset_min]])
        self._history_4n = np.concatenate([self._history_4n, newest], 1)[:, first:].copy()
        self._history_event = np.append(self._history_event, identity)[first:]
        self._num_since = since[first:]
        self._num_real = max(0, self._num_real - first)

    def _location_name(self, location: int) -> str | None:
        if location == UNKNOWN:
            return None
        names = self._bundle.vocabulary.locations
        return names[location] if location < len(names) else self._own_locations.name_of(location)


def _draw(probs: FloatArray, pick: float, sampling: Sampling) -> int:
    return int(sampling.draw(probs[None], np.array([pick]))[0])
