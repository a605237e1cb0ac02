"""Forecast points, what really came after them, and the two generators that need no model."""

import numpy as np
import pytest

from edgebehave_train.logs.mapped_log import event_identity, map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, SplitConfig, part_of_event
from forecasts import forecast_prompts, real_continuations, replayed
from semi_markov import SemiMarkov

START_S = 1_700_000_000
DAY_S = 86400


@pytest.fixture(scope="module")
def log(tiny_store):
    is_train = part_of_event(tiny_store, SplitConfig()) == TRAIN
    return map_log(tiny_store, training_vocabulary(tiny_store, is_train))


def test_real_and_replayed_continuations(tiny_store, log):
    prompts = forecast_prompts(tiny_store, log, SplitConfig(), "test", 5)
    real = real_continuations(log, prompts, 5)
    assert (real.time_s[:, 0] >= log.time_s[prompts.stop]).all()
    assert (real.behavior >= 0).all()
    replay = replayed(log, prompts, 5)
    start, stop = prompts.start[0], prompts.stop[0]
    rows = start + np.flatnonzero(log.behavior[start:stop] >= 0)
    assert np.array_equal(replay.behavior[0], log.behavior[rows[-5:]])
    assert np.array_equal(replay.gap_s[0], np.diff(log.time_s[rows])[-5:])
    assert np.array_equal(replay.event[0], event_identity(log)[rows[-5:]])


def test_a_prompt_of_whole_users_is_their_first_part(tiny_store, log):
    split = SplitConfig(by="user", train=0.5, validation=0.25)
    prompts = forecast_prompts(tiny_store, log, split, "test", 10, prompt_behaviors=7)
    for start, stop in zip(prompts.start, prompts.stop, strict=True):
        assert (log.behavior[start:stop] >= 0).sum() == 7
    with pytest.raises(ValueError, match="fewer steps"):
        forecast_prompts(tiny_store, log, split, "test", 500)


def test_semi_markov_goes_round_a_cycle(make_store):
    user = [(START_S + (n // 3) * DAY_S + 600 * (n % 3), "abc"[n % 3], None) for n in range(90)]
    store = make_store([user])
    part = part_of_event(store, SplitConfig())
    log = map_log(store, training_vocabulary(store, part == TRAIN))
    prompts = forecast_prompts(store, log, SplitConfig(), "test", 10)
    chain = SemiMarkov(log, part == TRAIN)
    chain.strength = 1e-9
    future, real = chain.generate(prompts, 10), real_continuations(log, prompts, 10)
    assert np.array_equal(future.behavior, real.behavior)
    assert np.array_equal(future.gap_s, real.gap_s)
    chain.fit(prompts, 10)
    assert chain.strength == 1.0  # the weakest smoothing there is
