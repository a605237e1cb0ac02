"""Generating the future: heads, kernels, stream, baseline, and the log that they share."""

import numpy as np
import pytest
import torch

from edgebehave.answers.sampling import Sampling
from edgebehave_train.files import read_tensors
from edgebehave_train.generation.futures import Futures, LocationNames
from edgebehave_train.generation.generation import Generator
from edgebehave_train.generation.past import Prompts
from edgebehave_train.kernels.copy_kernels import (
    GAP_KERNELS,
    LOCATION_KERNELS,
    copy_numbers,
    gap_weights,
    waiting_times,
)
from edgebehave_train.kernels.time_gaps import bin_of_gap
from edgebehave_train.logs.mapped_log import event_identity, map_log, training_vocabulary
from edgebehave_train.logs.split import PARTS, SplitConfig, part_bounds
from edgebehave_train.model.attention import plan_attention
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.model.decoder import Decoder
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain

START_S = 1_700_000_000
DAY_S = 86400


@pytest.fixture(scope="module")
def routines(make_store):
    """12 users with a cycle of their own; "ping" events have no behavior, two events are "play"."""
    rng = np.random.default_rng(3)
    users = []
    for _ in range(12):
        cycle = rng.permutation(["coffee", "mail", "game.a", "game.b", "news"])
        time_s, user = START_S, []
        for n in range(120):
            time_s += 600 * int(rng.integers(1, 9))
            event = cycle[n % 5] if rng.random() < 0.9 else "news"
            user.append((time_s, str(event), "home" if event == "coffee" else "work"))
            if rng.random() < 0.2:
                user.append((time_s + 60, "ping", None))
        users.append(user)
    behavior = {"game.a": "play", "game.b": "play", "ping": None}
    names = sorted({event for user in users for _, event, _ in user})
    return make_store(users, {name: behavior.get(name, name) for name in names})


@pytest.fixture(scope="module")
def trained(routines, recipe, tmp_path_factory) -> Checkpoint:
    out = tmp_path_factory.mktemp("heads") / "checkpoint"
    return pretrain(routines, recipe(generation_heads=True), out, device="cpu")


@pytest.fixture(scope="module")
def generator(trained, routines) -> Generator:
    return Generator(trained, routines)


@pytest.fixture(scope="module")
def prompts(routines) -> Prompts:
    """Every user, from the first event on to where the test part begins."""
    bounds = part_bounds(routines, SplitConfig())
    return Prompts(user=np.arange(len(bounds)), start=bounds[:, 0], stop=bounds[:, PARTS["test"]])


# -- training ---------------------------------------------------------------------------------


def test_without_heads_the_model_starts_and_stays_as_it_was():
    sizes = {"num_events": 5, "num_locations": 4, "num_behaviors": 5, "width": 16, "num_heads": 2}
    torch.manual_seed(0)
    plain = BehaviorModel(ModelConfig(**sizes)).state_dict()
    torch.manual_seed(0)
    with_heads = BehaviorModel(ModelConfig(**sizes, generation_heads=True)).state_dict()
    added = set(with_heads) - set(plain)
    assert added == {name for name in with_heads if name.startswith("generation.")}
    assert all(torch.equal(plain[name], with_heads[name]) for name in plain)


def test_the_losses_of_the_heads_are_reported_and_fall(trained):
    first, *_, last = trained.training.generation_nll
    assert set(first) == {"gap", "event", "location"}
    assert last["gap"] < first["gap"] < np.log(72)
    assert last["location"] < first["location"]


def test_a_run_with_heads_resumes_to_the_bit(routines, recipe, trained, tmp_path):
    class Stop(Exception):  # noqa: N818  a signal of the test, not an error
        pass

    def stop(progress):
        if progress.kind == "validation":
            raise Stop

    config = recipe(generation_heads=True)
    with pytest.raises(Stop):
        pretrain(routines, config, tmp_path / "c", device="cpu", on_progress=stop)
    resumed = pretrain(routines, config, tmp_path / "c", device="cpu", resume=True)
    weights, _ = read_tensors(resumed.path / "model.safetensors")
    expected, _ = read_tensors(trained.path / "model.safetensors")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert resumed.training.generation_nll == trained.training.generation_nll


def test_heads_and_a_query_for_the_location_exclude_each_other():
    with pytest.raises(ValueError, match="time_location"):
        ModelConfig(
            num_events=3,
            num_locations=3,
            num_behaviors=3,
            query_context="time_location",
            generation_heads=True,
        )


def test_events_share_out_the_probability_of_their_behavior(generator):
    model, vocabulary = generator.model, generator.vocabulary
    play = vocabulary.behavior_id("play")
    probs = (
        model.generation.event_log_probs(
            torch.zeros(1, model.config.width),
            torch.tensor([play]),
            model.event,
            torch.tensor(vocabulary.event_to_behavior),
        )[0]
        .exp()
        .detach()
    )
    both = [vocabulary.event_id("game.a"), vocabulary.event_id("game.b")]
    assert float(probs[both].sum()) == pytest.approx(1)
    assert float(probs[0]) == 0


# -- kernels ----------------------------------------------------------------------------------


def test_kernels_by_hand(make_store):
    events = [(0, "a", "x"), (600, "b", "y"), (1200, "a", "x"), (5000, "b", "y"), (5600, "a", "y")]
    store = make_store([[(START_S + time_s, *rest) for time_s, *rest in events]])
    everything = np.ones(5, bool)
    log = map_log(store, training_vocabulary(store, everything))
    numbers = copy_numbers(event_identity(log), log.behavior_log(everything))
    gap = dict(zip(GAP_KERNELS, numbers.gap_evidence[4], strict=True))
    # before the last event: waits of 600, 600 and 3800 s, of which one began after a b
    assert gap["frequency"] == 3
    assert gap["recency"] == pytest.approx(1 + 0.9 + 0.81)
    assert gap["transition"] == 1
    assert numbers.gap_bin[4] == bin_of_gap(600)
    frequency, transition = GAP_KERNELS.index("frequency"), GAP_KERNELS.index("transition")
    assert numbers.gap_probs[4, frequency] == pytest.approx(2 / 3)
    assert numbers.gap_probs[4, transition] == pytest.approx(1)
    assert numbers.pace_counts[4].sum() == 3
    location = dict(zip(LOCATION_KERNELS, numbers.location_probs[4], strict=True))
    assert location["last"] == 1  # at y, as b before it
    assert location["event"] == 0  # the other two a were at x
    evidence = dict(zip(LOCATION_KERNELS, numbers.location_evidence[4], strict=True))
    assert evidence["event"] == 2
    assert evidence["event_recent"] == pytest.approx(0.9 + 0.9**3)
    assert evidence["event_after"] == 1  # the second a came from y, as this one does


def test_no_gap_kernel_knows_when_the_next_behavior_happens(make_store):
    def evidence(last_s: int):
        times = [0, 600, 1200, 5000, last_s]
        store = make_store([[(START_S + t, "ab"[i % 2], "x") for i, t in enumerate(times)]])
        everything = np.ones(5, bool)
        log = map_log(store, training_vocabulary(store, everything))
        return copy_numbers(event_identity(log), log.behavior_log(everything)).gap_evidence[4]

    assert np.array_equal(evidence(5600), evidence(90_000))


def test_generation_sees_what_training_saw(generator, routines, prompts):
    """Kernels and pace at the forecast point equal those of the target that comes after it."""
    behaviors = generator.log.behavior_log(np.ones(len(generator.log.event), bool))
    numbers = copy_numbers(event_identity(generator.log), behaviors)
    row = np.searchsorted(behaviors.event, prompts.stop)
    locations = LocationNames(routines, generator.vocabulary)
    futures = Futures(generator.model, generator.log, locations, prompts, 1)
    occurred, sight = futures.past.occurrences(), futures.past.sight(futures.num_seen)
    weights = gap_weights(
        occurred.shifted(),
        occurred.at(np.s_[:, -1:]),
        sight.age,
        sight.has_before,
        sight.has_two_before,
    )
    np.testing.assert_allclose(weights.sum(2).T, numbers.gap_evidence[row], rtol=1e-5)
    np.testing.assert_array_equal(futures._pace_counts(weights, occurred), numbers.pace_counts[row])


def test_waiting_times_stay_inside_a_user(make_store):
    store = make_store([[(START_S, "a", None), (START_S + 5, "b", None)]] * 2)
    everything = np.ones(4, bool)
    log = map_log(store, training_vocabulary(store, everything))
    behaviors = log.behavior_log(everything)
    assert waiting_times(behaviors, everything).tolist() == [5, 5]
    assert waiting_times(behaviors, np.array([1, 1, 1, 0], bool)).tolist() == [5]


# -- the stream -------------------------------------------------------------------------------


def test_the_stream_equals_the_packed_network():
    torch.manual_seed(1)
    config = ModelConfig(num_events=9, num_locations=5, num_behaviors=9, width=16, num_heads=2, window=4)
    model = BehaviorModel(config).eval()
    length = 20
    columns = [torch.randint(0, n, (2, length)) for n in (9, 5, 7, 48)]
    is_there = torch.ones(2, length, dtype=torch.bool)
    is_there[1, :12] = False  # the second user's events begin later
    decoder = Decoder(model, 2)
    for n in range(length):
        hidden = decoder.step(*(column[:, n] for column in columns), is_there[:, n])
    for user, first in ((0, 0), (1, 12)):
        own = [column[user : user + 1, first:] for column in columns]
        plan = plan_attention(torch.zeros_like(own[0]), config.window, "dense")
        with torch.inference_mode():
            expected = model.hidden(*own, plan)[0, -1]
        torch.testing.assert_close(hidden[user], expected, atol=1e-5, rtol=1e-5)


# -- futures ----------------------------------------------------------------------------------


def test_a_future_is_made_of_known_things_in_time_order(generator, prompts):
    futures = generator.generate(prompts, 10, seed=1)
    assert (futures.gap_s >= 0).all()
    assert (futures.start_s == generator.log.time_s[prompts.stop - 1][: len(prompts)]).any()
    mapping = np.array(generator.vocabulary.event_to_behavior)
    np.testing.assert_array_equal(mapping[futures.event], futures.behavior)
    events = list(generator.named(prompts, futures, 0))
    assert {event.event for event in events} <= {"coffee", "mail", "game.a", "game.b", "news"}
    assert {event.location for event in events} <= {"home", "work", None}
    assert all(e.behavior == ("play" if "game" in e.event else e.event) for e in events)


def test_a_future_depends_on_seed_and_user_alone(generator, prompts):
    together = generator.generate(prompts, 6, seed=1)
    again = generator.generate(prompts.take(slice(3, 4)), 6, seed=1)
    other = generator.generate(prompts, 6, seed=2)
    assert np.array_equal(together.behavior[3], again.behavior[0])
    assert np.array_equal(together.time_s[3], again.time_s[0])
    assert not np.array_equal(together.time_s, other.time_s)


def test_a_cold_future_repeats_the_likeliest(generator, prompts):
    sampling = Sampling(top_p=1e-9)
    first = generator.generate(prompts, 5, seed=1, sampling=sampling)
    second = generator.generate(prompts, 5, seed=1, sampling=Sampling(temperature=1e-6))
    assert np.array_equal(first.behavior, second.behavior)


def test_nothing_happens_before_what_is_known(generator, routines):
    """A prompt that ends in an event without a behavior: the wait goes on behind it."""
    log = generator.log
    pings = np.flatnonzero((log.behavior < 0) & (np.arange(len(log.behavior)) > 20))[:8]
    user = log.user_of_event()[pings].astype(np.int64)
    prompts = Prompts(user=user, start=log.user_start[user], stop=pings + 1)
    futures = generator.generate(prompts, 3)
    assert (futures.time_s[:, 0] > log.time_s[pings]).all()
    assert (futures.start_s == log.time_s[pings] - 60).all()


def test_a_behavior_of_the_users_own_keeps_its_name(trained, routines, make_store):
    """A store with an event that the checkpoint never saw: it is copied by name."""
    users = [[(START_S + 3600 * n, "sauna", "lake") for n in range(40)]]
    generator = Generator(trained, make_store(users))
    prompts = generator.prompts_of(["u0"])
    futures = generator.generate(prompts, 30, sampling=Sampling(temperature=0.5))
    events = list(generator.named(prompts, futures, 0))
    assert any((e.event, e.behavior, e.location) == ("sauna", "sauna", "lake") for e in events)


def test_a_checkpoint_without_heads_says_how_to_get_them(routines, recipe, tmp_path):
    plain = pretrain(routines, recipe(epochs=1), tmp_path / "plain", device="cpu")
    with pytest.raises(ValueError, match="generation_heads=true"):
        Generator(plain, routines)
