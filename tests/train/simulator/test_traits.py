import numpy as np
import pytest

from edgebehave_train.simulator.traits import NO_LOCATION, TRAITS, traits_of

DAY, HOUR = 86400, 3600
SATURDAY = 2 * DAY  # 3 January 1970


def traits(names, times=None, locations=None):
    times = np.arange(len(names)) * HOUR if times is None else np.array(times)
    locations = np.full(len(names), NO_LOCATION) if locations is None else np.array(locations)
    return traits_of(np.array(names), locations, times)


def test_traits_of_names_worked_by_hand():
    #               A  B  A  A  C  A  D  A
    found = traits([5, 2, 5, 5, 9, 5, 7, 5])
    assert found.repeat_rate == 1 / 7
    assert found.return_rate == 3 / 6  # A B A, A C A, A D A
    assert found.num_names == 4
    assert found.top_share == 5 / 8
    assert found.entropy_bits == pytest.approx(5 / 8 * np.log2(8 / 5) + 3 / 8 * 3)
    # After A (4 times) B, A, C, D once each: 2 bits; after each other name always A: 0 bits.
    assert found.next_entropy_bits == pytest.approx(4 / 7 * 2)
    assert found.novelty == 2 / 4  # C and D, of the last four


def test_hits_of_predictors_worked_by_hand():
    found = traits([5, 2, 5, 5, 9, 5, 7, 5])
    # Most used so far: none, A, A, A, A, A, A, A.
    assert found.hits_most_used == 4 / 8
    # After the last: none, none, none (B is new), B, B, none, B, none.
    assert found.hits_after_last == 0
    assert traits([1, 2, 1, 2, 1, 2, 1, 2]).hits_after_last == 5 / 8
    assert traits([1, 2, 1, 2, 1, 2, 1, 2]).hits_after_two == 4 / 8
    # Names that alternate with the slots of two hours are known from the second day on.
    by_hour = traits([1, 2, 1, 2, 1, 2], [0, 2 * HOUR, DAY, DAY + 2 * HOUR, 2 * DAY, 2 * DAY + 2 * HOUR])
    assert by_hour.hits_by_hour == 4 / 6


def test_traits_of_times_worked_by_hand():
    found = traits([1, 1, 1, 2, 2], [0, 30, 90, 90 + 59, SATURDAY])
    assert found.median_gap_s == 59.5
    assert found.gaps_below_minute == 2 / 4
    assert found.gap_spread == pytest.approx(np.log1p([30, 60, 59, SATURDAY - 149]).std())
    assert found.events_per_day == 5 / 2
    assert found.hour_entropy_bits == 0
    assert found.weekend_difference == 3 / 4  # Saturday: B alone; Thursday: B in one of four
    assert traits([1] * 48, np.arange(48) * 1800).hour_entropy_bits == pytest.approx(np.log2(48))


def test_traits_of_locations_worked_by_hand():
    found = traits([1, 1, 1, 1, 1], locations=[3, 3, NO_LOCATION, 4, 4])
    assert found.num_locations == 2
    assert found.location_repeat_rate == 2 / 3


def test_traits_without_meaning_are_nan():
    found = traits([1, 2, 3, 4])
    assert found.num_locations == 0
    assert np.isnan(found.location_repeat_rate)
    assert np.isnan(found.weekend_difference)
    assert sum(np.isnan(getattr(found, trait)) for trait in TRAITS) == 2


def test_names_and_locations_are_only_told_apart():
    rng = np.random.default_rng(0)
    names, locations = rng.integers(0, 9, 60), rng.integers(-1, 4, 60)
    times = np.sort(rng.integers(0, 9 * DAY, 60))
    renamed = traits_of(1000 - 7 * names, np.where(locations < 0, NO_LOCATION, 50 - locations), times)
    assert renamed == traits_of(names, locations, times)


def test_columns_of_other_lengths_and_short_logs_are_refused():
    with pytest.raises(ValueError, match="at least 4 events"):
        traits([1, 2, 3])
    with pytest.raises(ValueError, match="5 behaviors, 4 locations, 5 times"):
        traits([1] * 5, locations=[1] * 4)
