"""Random worlds: seeds, columns, speed, and the laws of which they are made."""

import time
from dataclasses import fields, replace
from hashlib import sha256
from itertools import islice

import numpy as np
import pytest

from edgebehave_train.simulator.pitman_yor import Chance, Names, Restaurant, Restaurants
from edgebehave_train.simulator.random_worlds import in_order_of_use, random_world, random_worlds, world
from edgebehave_train.simulator.traits import NO_LOCATION, TRAITS, traits_of
from edgebehave_train.simulator.world_ranges import (
    DESKTOP,
    DIARY,
    HOME,
    KINDS,
    OUTINGS,
    PHONE,
    HabitRange,
    LogUniform,
    MixedRanges,
    OneOf,
    Ranges,
    Uniform,
    WeighedRanges,
)

MIN_EVENTS_PER_S = 5_000


def columns(log):
    return np.stack([log.behavior, log.location, log.local_s])


def chance(seed=0):
    return Chance(np.random.default_rng(seed))


def one_habit(name, **changes):
    """Ranges of worlds that follow one habit alone."""
    habits = {field.name: HabitRange(0.0, 1.0) for field in fields(MixedRanges) if field.type is HabitRange}
    assert name in habits
    mixed = MixedRanges(**habits | {name: HabitRange(1.0, 1.0), "never_repeats": 0.0, "has_repeats": 0.0} | changes)
    return Ranges(is_weighed=0.0, mixed=replace(mixed, interrupts=changes.get("interrupts", OneOf((0,)))))


def test_a_seed_gives_the_same_worlds_on_every_run_and_platform():
    digest = sha256()
    for log in islice(random_worlds(0, 100), 40):
        digest.update(columns(log).astype("<i8").tobytes())
    assert digest.hexdigest() == "69380df55574306feb5a1d119bc4147c895b857efd78da339d6aebfc612e3638"


def test_a_world_depends_on_its_seed_and_number_alone():
    stream = list(islice(random_worlds(3, 50), 8))
    later = list(islice(random_worlds(3, 50, first=5), 3))
    assert all((columns(a) == columns(b)).all() for a, b in zip(stream[5:], later, strict=True))
    assert (columns(world(3, 6, 50)) == columns(stream[6])).all()
    other = list(islice(random_worlds(4, 50), 8))
    assert not any((columns(a) == columns(b)).all() for a, b in zip(stream, other, strict=True))


def test_a_shorter_world_is_the_beginning_of_a_longer_one():
    for i in range(20):
        assert (columns(world(1, i, 90))[:, :30] == columns(world(1, i, 30))).all()


def test_columns():
    for log in islice(random_worlds(1, 80), 100):
        assert columns(log).shape == (3, 80)
        assert all(column.dtype == np.int64 for column in (log.behavior, log.location, log.local_s))
        assert (in_order_of_use(log.behavior) == log.behavior).all()
        assert (np.diff(log.local_s) >= 1).all()
        has_locations = log.location[0] != NO_LOCATION
        assert ((log.location != NO_LOCATION) == has_locations).all()
        if has_locations:
            assert (in_order_of_use(log.location) == log.location).all()


def test_one_core_makes_enough_events():
    random = random_worlds(0, 256)
    next(random)
    rates = []
    for _ in range(3):
        start = time.process_time()
        for _ in islice(random, 30):
            pass
        rates.append(30 * 256 / (time.process_time() - start))
    assert max(rates) > MIN_EVENTS_PER_S


def test_names_in_the_order_of_use():
    assert in_order_of_use(np.array([7, 3, 7, 9, 3, 0])).tolist() == [0, 1, 0, 2, 1, 3]


@pytest.mark.parametrize("is_weighed", [0.0, 1.0])
def test_a_world_without_repeats_has_none(is_weighed):
    ranges = replace(PHONE, is_weighed=is_weighed)
    ranges = replace(
        ranges,
        mixed=replace(ranges.mixed, never_repeats=1.0, interrupts=OneOf((0.2,)), routine=HabitRange(1.0, 1.0)),
        weighed=replace(ranges.weighed, never_repeats=1.0, routine=1.0),
    )
    for i in range(40):
        behavior = random_world(np.random.default_rng(i), 120, ranges).behavior
        assert (behavior[1:] != behavior[:-1]).all()


def test_an_arrival_is_never_where_the_last_one_was():
    ranges = replace(OUTINGS, location=replace(OUTINGS.location, num=OneOf((2, 10)), always_moves=1.0))
    for i in range(40):
        location = random_world(np.random.default_rng(i), 80, ranges).location
        assert (location[1:] != location[:-1]).all()


def test_a_venue_belongs_to_one_behavior():
    ranges = replace(OUTINGS, location=replace(OUTINGS.location, num=OneOf((10,)), has_venues=1.0))
    for i in range(40):
        log = random_world(np.random.default_rng(i), 120, ranges)
        behaviors = {}
        for location, behavior in zip(log.location.tolist(), log.behavior.tolist(), strict=True):
            assert behaviors.setdefault(location, behavior) == behavior


def test_an_interruption_returns_to_the_name_before():
    loud = {"interrupts": OneOf((0.9,)), "num_interrupters": LogUniform(1, 1), "interrupted_returns": Uniform(1, 1)}
    calm, returning = (
        np.mean([rate(ranges, i, "return_rate") for i in range(60)])
        for ranges in (one_habit("nothing"), one_habit("nothing", **loud))
    )
    assert returning > calm + 0.2


def test_a_situation_is_read_as_a_whole():
    """Without chance, the last two names decide together, and so does any other pair of cues."""
    sure = {"situation_discount": Uniform(0, 0), "situation_concentration": LogUniform(1e-9, 1e-9)}
    every_cue = {"num_situations": OneOf((1,)), "situation_cues": OneOf((6,)), "situation_gap_width": LogUniform(1, 1)}
    ranges = one_habit("situation", **sure, **every_cue, parts_of_day=OneOf((4,)), root_concentration=LogUniform(9, 9))
    ranges = replace(
        ranges, time=replace(ranges.time, knows_weekends=0.0), location=replace(ranges.location, num=OneOf((0,)))
    )
    repeated = 0
    for i in range(20):
        log = random_world(np.random.default_rng(i), 200, ranges)
        came = {}
        gap_s = np.diff(log.local_s, prepend=log.local_s[0])
        for j in range(2, 200):
            part = int(log.local_s[j] % 86400 / 21600)
            situation = (*log.behavior[j - 2 : j].tolist(), part, int(np.log(max(1, gap_s[j]))))
            repeated += situation in came
            assert came.setdefault(situation, log.behavior[j]) == log.behavior[j]
    assert repeated > 100


def test_the_gap_makes_a_name_likelier():
    """In a world of two names that only the gap decides, long gaps go with one of them."""
    weighed = replace(
        WeighedRanges(),
        num_names=Uniform(2, 2),
        evenness=OneOf((1000.0,)),
        total_weight=LogUniform(1e-3, 1e-3),
        weekend=OneOf((0,)),
        of_location=OneOf((0,)),
        never_repeats=0.0,
        has_repeats=0.0,
        recency=OneOf((0,)),
        novelty=OneOf((0,)),
        drift=OneOf((0,)),
        once_a_day=0.0,
        routine=0.0,
        of_gap=OneOf((8.0,)),
        gap_width=LogUniform(0.2, 0.2),
    )
    apart = []
    for i in range(30):
        log = random_world(np.random.default_rng(i), 200, Ranges(is_weighed=1.0, weighed=weighed))
        rank = np.argsort(np.argsort(np.diff(log.local_s))) / 199
        is_first = log.behavior[1:] == 0
        if 0 < is_first.sum() < 199:
            apart.append(abs(rank[is_first].mean() - rank[~is_first].mean()))
    assert len(apart) > 10
    assert np.median(apart) > 0.3  # half of it if the names were split at the median gap; by chance below .1


def test_a_routine_runs_to_its_end_and_begins_anew():
    ranges = one_habit("routine", routine_keeps=Uniform(1, 1), num_routines=Uniform(1, 1))
    ranges = replace(ranges, time=replace(ranges.time, has_sessions=1.0, session_events=LogUniform(1e6, 1e6)))
    for i in range(20):
        behavior = random_world(np.random.default_rng(i), 100, ranges).behavior
        assert any((behavior[period:] == behavior[:-period]).all() for period in range(1, 13))


def rate(ranges, seed, trait):
    log = random_world(np.random.default_rng(seed), 150, ranges)
    return getattr(traits_of(log.behavior, log.location, log.local_s), trait)


@pytest.fixture(scope="module")
def of_worlds():
    """{trait: (500,) values of worlds of 256 events}."""
    rows = [traits_of(log.behavior, log.location, log.local_s) for log in islice(random_worlds(5, 256), 500)]
    return {trait: np.array([getattr(row, trait) for row in rows]) for trait in TRAITS}


def test_a_fair_share_of_the_worlds_looks_like_a_phone(of_worlds):
    assert (
        np.mean(
            (of_worlds["repeat_rate"] == 0)
            & (of_worlds["median_gap_s"] < 120)
            & (of_worlds["return_rate"] > 0.2)
            & (of_worlds["num_names"] >= 15)
        )
        > 0.05
    )


def test_a_fair_share_of_the_worlds_looks_like_a_home(of_worlds):
    assert (
        np.mean(
            (of_worlds["median_gap_s"] < 600)
            & (of_worlds["hits_after_two"] > 0.45)
            & (of_worlds["num_names"] >= 6)
            & (of_worlds["num_names"] <= 60)
            & (of_worlds["hour_entropy_bits"] > 3)
        )
        > 0.05
    )


def test_a_fair_share_of_the_worlds_looks_like_a_desktop(of_worlds):
    assert (
        np.mean(
            (of_worlds["median_gap_s"] < 300)
            & (of_worlds["return_rate"] > 0.3)
            & (of_worlds["hits_after_last"] > 0.35)
            & (of_worlds["num_names"] >= 8)
        )
        > 0.03
    )


def test_shares_of_the_kinds_sum_to_one():
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)
    assert [ranges for _, ranges in KINDS.values()] == [Ranges(), PHONE, HOME, DESKTOP, OUTINGS, DIARY]


def test_a_restaurant_draws_by_the_formula_of_pitman_and_yor():
    discount, concentration, draws = 0.5, 2.0, 20_000
    restaurant = Restaurant()
    for name, new_table in ((7, True), (7, False), (7, True), (8, True)):
        restaurant.add(name, new_table)
    random = chance()
    drawn = [restaurant.known_name(random, discount, concentration, avoid=None) for _ in range(draws)]
    # N = 4, T = 3: 7 has 3 customers at 2 tables, 8 has 1 at 1; the base gets theta + d T.
    expected = {7: (3 - 1.0) / 6, 8: (1 - 0.5) / 6, None: (2 + 1.5) / 6}
    for name, probability in expected.items():
        assert drawn.count(name) / draws == pytest.approx(probability, abs=0.015)  # 4 standard errors
    others = {restaurant.known_name(random, discount, concentration, avoid=7) for _ in range(200)}
    assert others == {8, None}
    always = {restaurant.known_name(random, discount, concentration, avoid=8, always=True) for _ in range(200)}
    assert always == {7}


def test_names_stay_within_their_limit_unless_one_is_avoided_that_is_alone():
    names = Names(chance(), discount=0.5, concentration=50.0, limit=4)
    assert {names.draw() for _ in range(300)} == {0, 1, 2, 3}
    single = Names(chance(), limit=1)
    assert [single.draw(), single.draw(), single.draw(avoid=0)] == [0, 0, 1]
    assert single.new() == 2


def test_a_context_repeats_what_came_after_it():
    names = Names(chance(), concentration=1e6)
    chain = Restaurants(chance(1), [0.0, 0.0], [1e-6, 1e-6], names.draw)
    first = chain.draw(["a", ()])
    assert [chain.draw(["a", ()]) for _ in range(5)] == [first] * 5
    chain.learn(["b", ()], 99)
    assert chain.draw(["b", ()]) == 99
    chain.forget()
    assert chain.draw(["b", ()]) != 99
