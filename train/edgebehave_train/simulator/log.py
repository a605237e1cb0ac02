"""The simulator: event logs from a known process, so that the best reachable accuracy is known.

Beside every behavior the process records the prediction of a Bayes predictor (the oracle), which knows the user's
latent parameters, all past behaviors and locations, and the time to predict for, but not the location of the user at
that time. docs/simulator.md explains the process, its calibration and when it was frozen; the parameters are in
`world.py`, the users in `users.py`, the process itself in `process.py`.
"""

import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave_train.files import write_bytes
from edgebehave_train.simulator.process import EVENT_NAMES, BehaviorProcess
from edgebehave_train.simulator.users import Ints, Population, choose, draw_population, draw_times
from edgebehave_train.simulator.world import BEHAVIORS, LOCATION_KINDS, ZONES

MAX_DAYS = 280
"""The calendar of the time zones covers one year."""

CSV_COLUMNS = ("user", "time", "utc_offset_min", "event", "location", "behavior")

_FAVORITES = np.array([0.55, 0.25, 0.15, 0.05])  # how often a user visits each favorite
_LOCATIONS_PER_CITY = 40
_SHARED_LOCATIONS = ("home", "work", "transit", "away")


@dataclass(frozen=True, kw_only=True)
class SimulatorConfig:
    """Size and seed of a simulated log. The defaults are the log of the demo.

    num_users  at least 1.
    num_days   1..280, from Monday 2026-02-23 on.
    seed       of everything that is random, at least 0.
    """

    num_users: int = 1200
    num_days: int = 49
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_users < 1:
            raise ValueError(f"simulator: num_users must be at least 1, got {self.num_users}")
        if not 1 <= self.num_days <= MAX_DAYS:
            raise ValueError(f"simulator: num_days must lie in 1..{MAX_DAYS}, got {self.num_days}")
        if self.seed < 0:
            raise ValueError(f"simulator: seed must not be negative, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class SimulatedLog:
    """A log with the oracle beside it. Columns of shape (N,), sorted by user, then time.

    user, event, location, behavior are positions in the lists of names; -1 means none: a cue has no behavior and no
    location. A user's times strictly increase.

    oracle_rank           int16, rank of the true behavior under p, 1 = best; 0 where there is none.
    oracle_prob           float32, p of the true behavior; 0 where there is none.
    oracle_top            int16, argmax of p; -1 where there is no behavior.
    oracle_balanced_top   int16, argmax of p(b) / share of b, which is best for macro recall.
    """

    config: SimulatorConfig
    user_names: tuple[str, ...]
    event_names: tuple[str, ...]
    location_names: tuple[str, ...]
    behavior_names: tuple[str, ...]
    user: npt.NDArray[np.int32]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int16]
    event: npt.NDArray[np.int32]
    location: npt.NDArray[np.int32]
    behavior: npt.NDArray[np.int32]
    oracle_rank: npt.NDArray[np.int16]
    oracle_prob: npt.NDArray[np.float32]
    oracle_top: npt.NDArray[np.int16]
    oracle_balanced_top: npt.NDArray[np.int16]

    @property
    def num_events(self) -> int:
        return len(self.user)


def run_process(config: SimulatorConfig, with_oracle: bool = True) -> tuple[BehaviorProcess, Ints, Ints]:
    """The process behind a log, after its run; UTC seconds and offset minutes of its events."""
    people_rng, time_rng, process_rng = (
        np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(3)
    )
    people = draw_population(config.num_users, people_rng)
    user, time_s, offset_min = draw_times(people, config.num_days, time_rng)
    process = BehaviorProcess(people, user, time_s, offset_min, process_rng).run(with_oracle)
    return process, time_s, offset_min


def simulate(config: SimulatorConfig, with_oracle: bool = True) -> SimulatedLog:
    """Run the process. The same config gives the same log.

    with_oracle  False leaves the columns of the oracle as where there is no behavior, and is faster.
    """
    events, time_s, offset_min = run_process(config, with_oracle)
    people, user = events.people, events.user
    location, location_names = _locations(people, user, time_s + 60 * offset_min, events.location_kind, events.rng)
    return SimulatedLog(
        config=config,
        user_names=tuple(f"user_{u:05d}" for u in range(config.num_users)),
        event_names=EVENT_NAMES,
        location_names=location_names,
        behavior_names=tuple(b.name for b in BEHAVIORS),
        user=user.astype(np.int32),
        time_s=time_s,
        utc_offset_min=offset_min.astype(np.int16),
        event=events.event.astype(np.int32),
        location=location.astype(np.int32),
        behavior=events.behavior.astype(np.int32),
        oracle_rank=events.rank,
        oracle_prob=events.prob,
        oracle_top=events.top,
        oracle_balanced_top=events.balanced_top,
    )


def _locations(
    people: Population, user: Ints, local_s: Ints, location_kind: Ints, rng: np.random.Generator
) -> tuple[Ints, tuple[str, ...]]:
    """Location of each event in the city, as ids (N,), and the names of the locations.

    Home, work, transit and away are names that all users share. Of the public locations of each kind a user has a
    few favorites among those of the city, and visits one of them on a day. The name contains the kind, so that a
    predictor can see all that the process depends on.
    """
    names: list[str] = list(_SHARED_LOCATIONS)
    favorites = np.zeros((people.num_users, len(LOCATION_KINDS), len(_FAVORITES)), np.int64)
    for p, kind in enumerate(LOCATION_KINDS):
        if kind in _SHARED_LOCATIONS:
            favorites[:, p] = _SHARED_LOCATIONS.index(kind)
            continue
        per_city = 1 if kind == "station" else _LOCATIONS_PER_CITY
        first = len(names) + per_city * people.zone[:, None]
        favorites[:, p] = first + rng.integers(0, per_city, (people.num_users, len(_FAVORITES)))
        for zone in ZONES:
            city = zone.name.lower().replace(" ", "_")
            names += [f"{city}.{kind}_{i:02d}" for i in range(per_city)]
    location = np.full(len(user), -1)
    somewhere = np.flatnonzero(location_kind >= 0)
    visit = np.stack([user, local_s // 86400, location_kind], 1)[somewhere]
    visits, which = np.unique(visit, axis=0, return_inverse=True)
    favorite = choose(np.tile(_FAVORITES, (len(visits), 1)), rng)
    location[somewhere] = favorites[visits[:, 0], visits[:, 2], favorite][which.ravel()]
    return location, tuple(names)


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Scores of the oracle on a log.

    num_predictions        behaviors scored.
    hr_at_1, 3, 5          share of them whose rank is at most k. No predictor has a higher expectation; on one finite
                           log a predictor may be slightly above it by chance.
    macro_recall           mean over behaviors of the recall of the argmax of p.
    balanced_macro_recall  the same for the argmax of p(b) / share of b: close to the best possible, with a lower
                           hr_at_1.
    nll                    mean -log p of the truth, nats.
    """

    num_predictions: int
    hr_at_1: float
    hr_at_3: float
    hr_at_5: float
    macro_recall: float
    balanced_macro_recall: float
    nll: float


def ceiling(log: SimulatedLog, skip: float = 0.0) -> Ceiling:
    """Score the oracle, the time of each moment known.

    skip  share of each user's events, the first ones, that is not scored, in [0, 1). 0.8 leaves the test part of the
          default split, event by event.
    Raises ValueError if nothing is left to score.
    """
    if not 0 <= skip < 1:
        raise ValueError(f"ceiling: skip must lie in [0, 1), got {skip}")
    num_events = np.bincount(log.user, minlength=len(log.user_names))
    index = np.arange(log.num_events) - (num_events.cumsum() - num_events)[log.user]
    # The rule of `split.part_bounds`, so that the same events are scored.
    scored = index >= np.ceil(skip * num_events - 1e-9)[log.user]
    scored &= log.behavior >= 0
    if not scored.any():
        raise ValueError("ceiling: the log holds no behavior to score; simulate more days or users")
    truth, rank = log.behavior[scored], log.oracle_rank[scored]

    def macro_recall(predicted: npt.NDArray[np.int16]) -> float:
        hits = np.bincount(truth, predicted[scored] == truth)
        total = np.bincount(truth)
        return float((hits[total > 0] / total[total > 0]).mean())

    return Ceiling(
        num_predictions=len(truth),
        hr_at_1=float((rank <= 1).mean()),
        hr_at_3=float((rank <= 3).mean()),
        hr_at_5=float((rank <= 5).mean()),
        macro_recall=macro_recall(log.oracle_top),
        balanced_macro_recall=macro_recall(log.oracle_balanced_top),
        nll=float(-np.log(log.oracle_prob[scored]).mean()),
    )


def write_log(log: SimulatedLog, path: Path | str, shuffle: bool = False) -> None:
    """Write the log as CSV: CSV_COLUMNS, times in UTC seconds; the oracle stays out of it.

    path     ends in .csv or .csv.gz; replaced at the end, so that no half-written file is left.
    shuffle  rows in random order, always the same for a seed, instead of by user and time.
    Raises ValueError for another ending. The same log gives the same bytes.
    """
    path = Path(path)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise ValueError(f"{path}: a simulated log is written as .csv or .csv.gz")
    behaviors = (*log.behavior_names, "")  # index -1 is the empty name at the end
    locations = (*log.location_names, "")
    order = np.arange(log.num_events)
    if shuffle:
        np.random.default_rng(log.config.seed).shuffle(order)
    columns = (log.user, log.time_s, log.utc_offset_min, log.event, log.location, log.behavior)
    text = io.StringIO()
    text.write(",".join(CSV_COLUMNS) + "\n")
    text.writelines(
        f"{log.user_names[u]},{t},{offset},{log.event_names[e]},{locations[p]},{behaviors[b]}\n"
        for u, t, offset, e, p, b in zip(*(c[order].tolist() for c in columns), strict=True)
    )
    data = text.getvalue().encode()
    if path.name.endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)  # mtime would change the bytes
    write_bytes(path, data)
