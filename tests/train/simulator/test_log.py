"""The simulated log: what it looks like, that its oracle is right, and that it stays frozen."""

import csv
import dataclasses
import gzip
import hashlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgebehave_train.evaluation.baselines import markov, most_frequently_used, most_recently_used
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.simulator import process as simulator_process
from edgebehave_train.simulator import users as simulator_users
from edgebehave_train.simulator import world as simulator_world
from edgebehave_train.simulator.log import (
    CSV_COLUMNS,
    SimulatedLog,
    SimulatorConfig,
    ceiling,
    simulate,
    write_log,
)
from edgebehave_train.simulator.process import EVENT_NAMES, BehaviorProcess
from edgebehave_train.simulator.users import (
    draw_population,
    draw_times,
    rhythm_table,
    schedule_table,
    utc_offset_min,
)
from edgebehave_train.simulator.world import BEHAVIORS, CUES, LOCATION_KINDS, PERSONAS, TRIGGERS, ZONES

SMALL = SimulatorConfig(num_users=30, num_days=21, seed=4)
FROZEN = "ce89c7e699e76ec214f5d71c90f40b43de74b8cbd9dd7b248d700d03aaaf1843"
SHARES = np.array([b.share for b in BEHAVIORS]) / 100


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    """The default log, the one of the demo."""
    return simulate(SimulatorConfig())


@pytest.fixture(scope="module")
def large_log() -> SimulatedLog:
    """Enough users that one person's taste does not show in a share."""
    return simulate(SimulatorConfig(num_users=6000, num_days=35, seed=7))


def behavior_id(name: str) -> int:
    return next(v for v, b in enumerate(BEHAVIORS) if b.name == name)


def shares_of(log: SimulatedLog) -> np.ndarray:
    done = log.behavior[log.behavior >= 0]
    return np.bincount(done, minlength=len(BEHAVIORS)) / len(done)


def local_s(log: SimulatedLog) -> np.ndarray:
    return log.time_s + 60 * log.utc_offset_min.astype(np.int64)


def kind_of_location(log: SimulatedLog) -> np.ndarray:
    """Kind of each event's location, as its name tells it; "" for a cue."""
    kinds = np.array([n.split(".")[-1].split("_")[0] for n in log.location_names] + [""])
    return kinds[log.location]


# ---------------------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    write_log(simulate(SMALL), tmp_path / name)
    write_log(simulate(SMALL), tmp_path / f"again_{name}")
    write_log(simulate(dataclasses.replace(SMALL, seed=5)), tmp_path / f"other_{name}")
    first = (tmp_path / name).read_bytes()
    assert (tmp_path / f"again_{name}").read_bytes() == first
    assert (tmp_path / f"other_{name}").read_bytes() != first
    assert not list(tmp_path.glob("*.partial"))


def test_the_file_holds_the_columns_of_the_log(tmp_path: Path) -> None:
    log = simulate(SMALL)
    write_log(log, tmp_path / "log.csv.gz")
    with gzip.open(tmp_path / "log.csv.gz", "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == CSV_COLUMNS
    assert len(rows) == log.num_events
    for i in (0, len(rows) // 2, len(rows) - 1):
        named = dict(zip(header, rows[i], strict=True))
        assert named["user"] == log.user_names[log.user[i]]
        assert int(named["time"]) == log.time_s[i]
        assert int(named["utc_offset_min"]) == log.utc_offset_min[i]
        assert named["event"] == log.event_names[log.event[i]]
    cues = {c.event for c in CUES}
    blank = [row for row in rows if row[5] == ""]
    assert blank
    assert all(row[3] in cues and row[4] == "" for row in blank)
    assert not any(row[3] in cues for row in rows if row[5])


def test_shuffling_reorders_the_rows_and_nothing_else(tmp_path: Path) -> None:
    log = simulate(SMALL)
    write_log(log, tmp_path / "log.csv")
    write_log(log, tmp_path / "shuffled.csv", shuffle=True)
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    shuffled_header, *shuffled = (tmp_path / "shuffled.csv").read_text().splitlines()
    assert shuffled_header == header
    assert shuffled != rows
    assert sorted(shuffled) == sorted(rows)


def test_another_file_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"written as \.csv or \.csv\.gz"):
        write_log(simulate(SMALL), tmp_path / "log.parquet")


@pytest.mark.parametrize(("field", "value"), [("num_users", 0), ("num_days", 0), ("num_days", 281), ("seed", -1)])
def test_a_bad_config_names_the_field_and_the_value(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{field}.*{value}$"):
        SimulatorConfig(**{field: value})


def test_a_log_without_events_is_possible_but_has_no_ceiling() -> None:
    log = next(
        log
        for seed in range(100)
        if not (log := simulate(SimulatorConfig(num_users=1, num_days=1, seed=seed))).num_events
    )
    with pytest.raises(ValueError, match="no behavior to score"):
        ceiling(log)


# ---------------------------------------------------------------------------- the log


def test_events_are_sorted_and_a_users_times_differ(log: SimulatedLog) -> None:
    same_user = np.diff(log.user) == 0
    assert (np.diff(log.user) >= 0).all()
    assert (np.diff(log.time_s)[same_user] > 0).all()


def test_every_event_stands_for_one_behavior_or_none(log: SimulatedLog) -> None:
    pairs = set(zip(log.event.tolist(), log.behavior.tolist(), strict=True))
    assert len(pairs) == len({event for event, _ in pairs}) == len(EVENT_NAMES)
    for event, behavior in pairs:
        name = log.event_names[event]
        if behavior < 0:
            assert name in {c.event for c in CUES}
        else:
            assert name in BEHAVIORS[behavior].events


def test_the_size_is_that_of_a_phone_log(log: SimulatedLog) -> None:
    num_events = np.bincount(log.user)
    assert len(num_events) == 1200
    assert 180 < num_events.mean() < 260
    assert 80 <= len(log.event_names) <= 150
    assert 35 <= len(log.behavior_names) <= 37
    assert 0.06 < (log.behavior < 0).mean() < 0.10


def test_shares_follow_the_reported_distribution(large_log: SimulatedLog) -> None:
    shares = shares_of(large_log)
    common = SHARES > 0.01
    assert np.abs(shares[common] / SHARES[common] - 1).max() < 0.15
    tail = ~common
    assert shares[tail].sum() == pytest.approx(SHARES[tail].sum(), rel=0.15)
    assert np.abs(shares[tail] / SHARES[tail] - 1).max() < 0.45  # 200 events of the rarest
    assert np.corrcoef(np.log(shares[tail]), np.log(SHARES[tail]))[0, 1] > 0.98


def test_the_default_log_holds_every_behavior(log: SimulatedLog) -> None:
    shares = shares_of(log)
    assert (shares > 0).all()
    assert shares[0] == pytest.approx(0.415, abs=0.015)
    common = SHARES > 0.01
    assert np.abs(shares[common] / SHARES[common] - 1).max() < 0.20


def test_people_sleep_at_night_and_go_to_work_on_weekdays(log: SimulatedLog) -> None:
    hour = local_s(log) % 86400 // 3600
    per_hour = np.bincount(hour, minlength=24)
    assert per_hour[2:5].sum() < 0.02 * log.num_events
    assert per_hour[19:23].sum() > 0.25 * log.num_events
    is_weekend = (local_s(log) // 86400 + 3) % 7 >= 5
    at_work = kind_of_location(log) == "work"
    assert at_work[~is_weekend].mean() > 3 * at_work[is_weekend].mean()


def test_users_differ_in_what_they_do(log: SimulatedLog) -> None:
    counts_uv = np.zeros((len(log.user_names), len(BEHAVIORS)))
    done = log.behavior >= 0
    np.add.at(counts_uv, (log.user[done], log.behavior[done]), 1)
    share_uv = counts_uv / counts_uv.sum(1, keepdims=True)
    assert 0.2 < np.quantile(share_uv[:, 0], 0.1) < np.quantile(share_uv[:, 0], 0.9) < 0.65
    second_u = np.argsort(-share_uv, 1)[:, 1]
    assert len(Counter(second_u.tolist())) > 10


def test_a_user_stays_with_one_public_location_of_a_kind_per_day(log: SimulatedLog) -> None:
    kind, day = kind_of_location(log), local_s(log) // 86400
    in_shop = kind == "shop"
    visits = set(zip(log.user[in_shop], day[in_shop], log.location[in_shop], strict=True))
    assert len(visits) == len({visit[:2] for visit in visits})
    assert len({location for *_, location in visits}) > 100


def test_tail_behaviors_follow_what_triggers_them(large_log: SimulatedLog) -> None:
    done = np.flatnonzero(large_log.behavior >= 0)
    behavior, kind = large_log.behavior[done], kind_of_location(large_log)[done]
    event, user = large_log.event[done], large_log.user[done]
    same_user = user[1:] == user[:-1]

    rented = (behavior[1:] == behavior_id("renting a car")) & same_user
    from_station = (kind[:-1] == "station") & same_user
    assert rented[from_station].mean() > 50 * rented[~from_station].mean()

    finished = (event[:-1] == EVENT_NAMES.index("fitness.finish")) & same_user
    checked = (behavior[1:] == behavior_id("checking health data")) & same_user
    assert 0.02 < checked[finished].mean() < 0.5
    assert checked[finished].mean() > 10 * checked[~finished].mean()


def test_a_cue_raises_what_it_hints_at(log: SimulatedLog) -> None:
    plugged_in = np.flatnonzero(log.event == EVENT_NAMES.index("headphones.connected"))
    plugged_in = plugged_in[plugged_in + 1 < log.num_events]
    music = behavior_id("listening to music")
    assert (log.behavior[plugged_in + 1] == music).mean() > 3 * shares_of(log)[music]


# ---------------------------------------------------------------------------- local time


def test_every_user_lives_in_one_time_zone(log: SimulatedLog) -> None:
    winter = {z.offset_min for z in ZONES}
    for user in range(0, 1200, 50):
        offsets = sorted(set(log.utc_offset_min[log.user == user].tolist()))
        assert offsets[0] in winter
        assert offsets[1:] in ([], [offsets[0] + 60])


@pytest.mark.parametrize("zone", [z for z in ZONES if z.summer], ids=lambda z: z.name)
def test_the_offset_changes_in_the_second_of_the_change(zone: simulator_world.Zone) -> None:
    assert zone.summer is not None
    begin, end = zone.summer
    times = np.array([begin - 1, begin, end - 1, end])
    zones = np.full(4, ZONES.index(zone))
    offset = zone.offset_min + np.array([0, 60, 60, 0])
    np.testing.assert_array_equal(utc_offset_min(zones, times), offset)
    # Local clocks change at two in the morning, at one in London.
    assert (begin + 60 * zone.offset_min) % 86400 // 3600 in (1, 2)
    # A local time that exists only once comes back as it was.
    unambiguous = times[[0, 1, 3]] + 60 * offset[[0, 1, 3]] + [-3600, 3600, 3600]
    to_utc = unambiguous - 60 * utc_offset_min(zones[:3], unambiguous, local=True)
    back = to_utc + 60 * utc_offset_min(zones[:3], to_utc)
    np.testing.assert_array_equal(back, unambiguous)


# ---------------------------------------------------------------------------- the oracle


class RecordingProcess(BehaviorProcess):
    """Keeps the oracle's distributions, and checks them against the sum over locations."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]  # the caller passes what it needs
        self.oracle: list[np.ndarray] = []
        self.is_oracle = True

    def _behavior_probs(self, q_rp, *given):  # type: ignore[no-untyped-def]  # as its parent's
        probs_rv = super()._behavior_probs(q_rp, *given)
        np.testing.assert_allclose(probs_rv.sum(1), 1.0, atol=1e-12)
        assert (probs_rv >= 0).all()
        if self.is_oracle:
            np.testing.assert_allclose(q_rp.sum(1), 1.0, atol=1e-12)
            total_rv = sum(
                q_rp[:, [p]]
                * super(RecordingProcess, self)._behavior_probs(
                    np.tile(np.eye(len(LOCATION_KINDS))[p], (len(q_rp), 1)), *given
                )
                for p in range(len(LOCATION_KINDS))
            )
            np.testing.assert_allclose(probs_rv, total_rv, atol=1e-12)
            self.oracle.append(probs_rv)
        self.is_oracle = not self.is_oracle  # asked twice per step: oracle first, then the draw
        return probs_rv


def test_the_oracle_is_the_process_without_the_location_and_calibrated() -> None:
    people = draw_population(400, np.random.default_rng(0))
    user, time_s, offset_min = draw_times(people, 30, np.random.default_rng(1))
    process = RecordingProcess(people, user, time_s, offset_min, np.random.default_rng(2))
    process.run()
    probs_nv = np.concatenate(process.oracle)
    num = len(probs_nv)
    assert num == (process.behavior >= 0).sum()

    # What is drawn from p hits its argmax with the mean of the maximum, and so on: 5 sigma.
    ranked = -np.sort(-probs_nv, 1)
    rank = process.rank[process.rank > 0]
    for k in (1, 3, 5):
        expected = ranked[:, :k].sum(1)
        sigma = np.sqrt((expected * (1 - expected)).sum()) / num
        assert abs((rank <= k).mean() - expected.mean()) < 5 * sigma
    # The same per behavior: as often as p says.
    counts = np.bincount(process.behavior[process.behavior >= 0], minlength=len(BEHAVIORS))
    sigma = np.sqrt((probs_nv * (1 - probs_nv)).sum(0))
    assert (np.abs(counts - probs_nv.sum(0)) < 5 * sigma).all()


def test_the_oracle_is_well_below_certainty_and_well_above_popularity(log: SimulatedLog) -> None:
    best = ceiling(log, skip=0.8)
    assert 0.53 < best.hr_at_1 < 0.60
    assert best.hr_at_1 < best.hr_at_3 < best.hr_at_5 < 0.95
    assert 0.3 < best.macro_recall < best.balanced_macro_recall < 0.65


def test_the_ceiling_of_a_log_worked_by_hand() -> None:
    few = simulate(SimulatorConfig(num_users=2, num_days=10, seed=0))
    # User 0 has five events, user 1 has three; 0.5 leaves the last two and the last one.
    columns = {
        "user": [0, 0, 0, 0, 0, 1, 1, 1],
        "behavior": [0, 0, 0, 7, 0, 0, -1, 0],
        "oracle_rank": [1, 1, 1, 2, 4, 1, 0, 1],
        "oracle_prob": [1, 1, 1, 0.25, 0.5, 1, 0, 0.5],
        "oracle_top": [0, 0, 0, 0, 3, 0, -1, 0],
        "oracle_balanced_top": [0, 0, 0, 7, 3, 0, -1, 3],
    }
    arrays = {name: np.array(values, getattr(few, name).dtype) for name, values in columns.items()}
    arrays |= {n: np.zeros(8, np.int64) for n in ("time_s", "utc_offset_min", "event", "location")}
    by_hand = ceiling(dataclasses.replace(few, **arrays), skip=0.5)
    assert by_hand.num_predictions == 3
    assert by_hand.hr_at_1 == pytest.approx(1 / 3)
    assert by_hand.hr_at_3 == pytest.approx(2 / 3)
    assert by_hand.hr_at_5 == 1.0
    assert by_hand.macro_recall == pytest.approx((1 / 2 + 0) / 2)
    assert by_hand.balanced_macro_recall == pytest.approx((0 + 1) / 2)
    assert by_hand.nll == pytest.approx(np.log([4, 2, 2]).mean())


# ---------------------------------------------------------------------------- the tables


def test_the_tables_fit_each_other() -> None:
    names = [b.name for b in BEHAVIORS]
    events = [e for b in BEHAVIORS for e in b.events]
    assert len(set(names)) == len(names)
    assert len(set(EVENT_NAMES)) == len(EVENT_NAMES)
    assert not any(set(",\"'\n") & set(name) for name in (*names, *EVENT_NAMES))
    assert all(set(b.locations) <= set(LOCATION_KINDS) for b in BEHAVIORS)
    assert all(set(p.likes) <= set(names) for p in PERSONAS)
    for trigger in TRIGGERS:
        assert trigger.behavior in names
        assert set(trigger.after) <= set(events)
        assert {trigger.location, trigger.arrived_from} <= {None, *LOCATION_KINDS}
        assert trigger.after or trigger.location or trigger.arrived_from
    for cue in CUES:
        assert set(cue.hints) <= set(names)
        assert sum(cue.hints.values()) == pytest.approx(1.0 if cue.weight else 0.0)
    assert sum(p.share for p in PERSONAS) == pytest.approx(1.0)
    assert sum(z.share for z in ZONES) == pytest.approx(1.0)
    np.testing.assert_allclose(rhythm_table().sum(-1), 1.0)
    np.testing.assert_allclose(schedule_table().sum(-1), 1.0)


def values_in(value: object) -> object:
    """A value without the names of its classes and fields."""
    if dataclasses.is_dataclass(value):
        return tuple(values_in(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, dict):
        return tuple((key, values_in(entry)) for key, entry in value.items())
    return tuple(map(values_in, value)) if isinstance(value, tuple) else value


def test_the_parameters_are_frozen() -> None:
    """Frozen before any model saw a simulated log: a change here would move the goalposts."""
    modules = (simulator_world, simulator_users, simulator_process)
    parameters = sorted(
        repr(values_in(value))
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | dict) and name.strip("_").isupper()
    )
    digest = hashlib.sha256("\n".join(parameters).encode()).hexdigest()
    assert digest == FROZEN, f"the simulator's parameters changed: {digest}"


# ---------------------------------------------------------------------------- calibration


def baselines_of(user: np.ndarray, behavior: np.ndarray) -> dict[str, tuple[float, float]]:
    """HR@1 and HR@3 on the last fifth of each user's events; behavior -1 = none."""
    num_events = np.bincount(user)
    user_start = np.r_[0, num_events.cumsum()]
    index = np.arange(len(user)) - user_start[user]
    log = BehaviorLog.of_columns(
        user_start=user_start,
        mapped_behavior=np.where(behavior < 0, -1, behavior + 1),
        location=np.zeros(len(user), int),
        time_s=np.arange(len(user)),
        utc_offset_min=np.zeros(len(user), int),
        is_train=index < np.ceil(0.7 * num_events - 1e-9)[user],
        num_behaviors=behavior.max() + 2,
    )
    targets = log.targets(index >= np.ceil(0.8 * num_events - 1e-9)[user])
    rates = {}
    for name, predictions in (
        ("MFU", most_frequently_used(log, targets)),
        ("MRU", most_recently_used(log, targets)),
        ("Markov", markov(log, targets, order=1)),
    ):
        metrics = evaluate_predictions(predictions, log.train_counts)
        rates[name] = (metrics["hr_at_1"], metrics["hr_at_3"])
    return rates


# What Tokyo's ten top categories gave when the parameters were frozen.
TOKYO = {"MFU": (0.411, 0.798), "MRU": (0.262, 0.664), "Markov": (0.376, 0.717)}


def test_simple_baselines_do_about_as_well_as_on_a_real_log(log: SimulatedLog) -> None:
    for name, (hr_at_1, _) in baselines_of(log.user, log.behavior).items():
        assert abs(hr_at_1 - TOKYO[name][0]) < 0.05, name


def test_the_real_log_gives_the_figures_of_the_calibration(log: SimulatedLog) -> None:
    if "EDGEBEHAVE_DATA" not in os.environ:
        pytest.skip("set EDGEBEHAVE_DATA to a folder that holds llmob_tokyo/trips_2019.csv.gz")
    path = Path(os.environ["EDGEBEHAVE_DATA"]) / "llmob_tokyo/trips_2019.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        trips = sorted(csv.DictReader(file), key=lambda row: (row["user_id"], row["local_time"]))
    user, behavior = (
        np.unique([row[column] for row in trips], return_inverse=True)[1] for column in ("user_id", "top_category")
    )
    simulated = baselines_of(log.user, log.behavior)
    print("\n            Tokyo HR@1/3    simulated HR@1/3")
    for name, rates in baselines_of(user, behavior).items():
        print(f"{name:10}", *(f"{rate:8.3f}" for rate in (*rates, *simulated[name])))
        assert rates == pytest.approx(TOKYO[name], abs=0.0006)
