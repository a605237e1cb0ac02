"""What the SDK generates from a bundle, against the generator of training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave import GeneratedEvent, Predictor
from edgebehave.answers.sampling import Sampling
from edgebehave.bundles.bundle import Bundle, BundleError
from edgebehave_export.bundle import export_bundle
from edgebehave_train.generation.generation import Generator
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.recipes import tiny

SMALL = {"width": 32, "window": 6, "epochs": 2, "batch_events": 480, "row_events": 120}
STEPS = 30


@pytest.fixture(scope="module")
def checkpoint(tiny_store, tmp_path_factory):
    config = tiny(**SMALL, learning_rate=3e-3, generation_heads=True)
    return pretrain(tiny_store, config, tmp_path_factory.mktemp("heads") / "checkpoint")


@pytest.fixture(scope="module")
def bundle(checkpoint, tiny_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / "bundle"
    export_bundle(checkpoint.path, tiny_store.path, folder, "fp32")
    return folder


def observe(predictor, store, user, num_events=None):
    for event in list(store.named_events(user))[:num_events]:
        event.observe_in(predictor, "user")


def by_training(generator, prompts, seed, sampling):
    futures = generator.generate(prompts, STEPS, seed=seed, sampling=sampling)
    return [
        [GeneratedEvent(e.event, e.behavior, e.location, e.time_s, e.utc_offset_min) for e in named]
        for named in (list(generator.named(prompts, futures, u)) for u in range(len(prompts)))
    ]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.9, 0.8), (0.01, 1.0)])
def test_a_seed_gives_the_future_of_training(bundle, checkpoint, tiny_store, monkeypatch, temperature, top_p):
    # Candidates stand in another order there: draw from them in that of their probabilities.
    def draw(self, probs_UC, pick_U):
        order = np.argsort(-probs_UC, axis=1, kind="stable")
        rank = draw_in_order(self, np.take_along_axis(probs_UC, order, 1), pick_U)
        return np.take_along_axis(order, rank[:, None], 1)[:, 0]

    draw_in_order = Sampling.draw
    monkeypatch.setattr(Sampling, "draw", draw)
    generator = Generator(checkpoint, tiny_store)
    users = [f"user_{u}" for u in range(0, 40, 8)]
    prompts = generator.prompts_of(users)
    sampling = {"temperature": temperature, "top_p": top_p}
    expected = by_training(generator, prompts, 5, Sampling(**sampling))
    predictor = Predictor.load(bundle, max_ahead=None)
    own = 0
    for index, future in zip(prompts.user.tolist(), expected, strict=True):
        observe(predictor, tiny_store, index)
        assert predictor.generate("user", STEPS, seed=[5, index], at=None, **sampling) == future
        predictor.forget("user")
        own += sum(event.event not in checkpoint.vocabulary.events for event in future)
    assert own  # names that the vocabulary does not hold are among them


def test_the_graphs_are_in_the_table_of_the_gate(bundle):
    checks = Bundle.open(bundle).manifest["parity"]["checks"]
    passed = {check["name"]: check["value"] for check in checks}
    for what in ("waiting time", "event", "location", "generated behavior"):
        assert passed[f"torch - fp32, probability of the {what}"] <= 1e-4


@settings(deadline=None, max_examples=15)
@given(
    num_events=st.integers(3, 59),
    steps=st.integers(1, 25),
    seed=st.integers(0, 2**32),
    is_rebuilt=st.booleans(),
)
def test_generating_leaves_no_trace(bundle, tiny_store, num_events, steps, seed, is_rebuilt):
    predictor = Predictor.load(bundle, state_mb=1e-9 if is_rebuilt else 64, max_ahead=None)
    observe(predictor, tiny_store, 3, num_events)
    asked = {"at": 1_800_000_000, "utc_offset_min": 0}
    names, before = predictor.probabilities("user", **asked)
    exported = predictor.export_user("user")
    first = predictor.generate("user", steps, seed=seed, at=None)
    assert predictor.generate("user", steps, seed=seed, at=None) == first
    assert len(first) == steps
    after_names, after = predictor.probabilities("user", **asked)
    assert (after_names, after.tobytes()) == (names, before.tobytes())
    assert predictor.export_user("user") == exported
    # And what comes later is as it would have been.
    untouched = Predictor.load(bundle, max_ahead=None)
    observe(untouched, tiny_store, 3, num_events)
    for each in (predictor, untouched):
        each.observe("user", "event_1", at=1_799_999_999, location="home")
    one, other = (each.probabilities("user", **asked)[1] for each in (predictor, untouched))
    assert one.tobytes() == other.tobytes()


def test_times_go_on_from_the_moment_asked_for(bundle, tiny_store):
    predictor = Predictor.load(bundle, max_ahead=None)
    observe(predictor, tiny_store, 0)
    last_s = list(tiny_store.named_events(0))[-1].time_s
    for at in (last_s - 1000, last_s + 3600, last_s + 10**9):
        future = predictor.generate("user", 10, seed=1, at=at, utc_offset_min=60)
        times = [last_s, *(event.time_s for event in future)]
        assert times == sorted(times)
        assert times[1] > at
        assert future[0].at.timestamp() == future[0].time_s
        assert future[0].at.utcoffset().total_seconds() == 3600
    assert len({tuple(predictor.generate("user", 5)) for _ in range(4)}) > 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"top_p": 0}, "top_p must lie in"),
        ({"user": "nobody"}, "from a behavior, and 'nobody' has none yet"),
        ({"user": "watcher"}, "from a behavior, and 'watcher' has none yet"),
    ],
)
def test_what_cannot_be_generated_is_explained(bundle, arguments, says):
    predictor = Predictor.load(bundle, max_ahead=None)
    predictor.observe("me", "event_1")
    predictor.observe("watcher", "screen.on")
    with pytest.raises(ValueError, match=says):
        predictor.generate(**({"user": "me"} | arguments))
    with pytest.raises(TypeError, match="steps must be an integer"):
        predictor.generate("me", 1.5)


def test_it_needs_a_bundle_with_heads(bundle):
    opened = Bundle.open(bundle)
    for predictor in (Predictor(), Predictor(replace(opened, generation=None))):
        predictor.observe("me", "event_1")
        with pytest.raises(ValueError, match="train with `--set generation_heads=true`"):
            predictor.generate("me")


def test_a_manifest_without_its_hours_is_refused(bundle, tmp_path):
    from edgebehave.bundles.manifest import digested_manifest

    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for broken in (None, {"num_quantiles": 0, "clock_rate": []}, {"num_quantiles": 16}):
        (folder / "manifest.json").write_bytes(digested_manifest(manifest | {"generation": broken}))
        with pytest.raises(BundleError, match="missing or wrong values"):
            Bundle.open(folder)
