"""The JavaScript client in Node answers what the SDK answers."""

import csv
import json
import random
import shutil
from pathlib import Path

import pytest

import edgebehave.predictor as predictor_module
from edgebehave import Predictor
from edgebehave.answers.question import habits_alone
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.universal_bundle import SHIPPED

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]
EXAMPLES, PLAY = ROOT / "examples", ROOT / "tests" / "examples" / "play.js"
TINY = ROOT / "tests" / "edgebehave" / "tiny_bundle"
START_S = 1_767_268_800


@pytest.fixture
def play(node):
    """play(folder of a bundle or None, steps) -> answers; see play.js."""

    def run(bundle, steps):
        scenario = {"bundle": None if bundle is None else str(bundle), "steps": steps}
        done = node(PLAY, stdin=json.dumps(scenario))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_golden_vectors_have_the_same_answers(node):
    done = node(EXAMPLES / "node/check_golden.js", TINY / "web", TINY / "golden.jsonl.gz")
    report = json.loads(done.stdout)
    assert report["histories"] >= 20
    assert report["sameTop1"] == report["sameTop5"] == report["histories"]
    assert report["largestDifference"] < 1e-4
    assert done.returncode == 0


@pytest.mark.timeout(900)  # half a minute on an idle core
def test_the_universal_bundle_has_the_same_best_name_on_a_thousand_histories(node, universal_golden):
    done = node(EXAMPLES / "node/check_golden.js", SHIPPED, universal_golden)
    report = json.loads(done.stdout)
    assert report["histories"] == report["sameTop1"] == 1000, report["wrong"][:3]
    assert report["largestDifference"] < 1e-3


def test_vectors_of_another_bundle_are_refused(node):
    done = node(EXAMPLES / "node/check_golden.js", TINY / "int8", TINY / "golden.jsonl.gz")
    assert done.returncode == 2
    assert "was not made from" in done.stderr


def test_a_bundle_for_another_target_is_refused(node):
    done = node(EXAMPLES / "node/replay.js", __file__, TINY / "int8")
    assert "for the web, got format 2 for native; export again with --target web" in done.stderr


@pytest.mark.parametrize("name", ["manifest.json", "vocabulary.json", "predict.onnx"])
def test_a_damaged_bundle_is_refused(node, tmp_path, name):
    shutil.copytree(TINY / "web", tmp_path / "web")
    content = bytearray((tmp_path / "web" / name).read_bytes())
    content[content.index(b"0.0") if name == "manifest.json" else len(content) // 2] ^= 1
    (tmp_path / "web" / name).write_bytes(content)
    done = node(EXAMPLES / "node/replay.js", __file__, tmp_path / "web")
    assert f"{name} of the bundle is damaged" in done.stderr


def random_steps(words, num_events, seed):
    """Events, some of them late or with new names, and questions now and then."""
    draw = random.Random(seed)
    at, steps = START_S, []
    for i in range(num_events):
        at += draw.randint(1, 20_000)
        event = f"new.{draw.randint(0, 40)}" if draw.random() < 0.3 else draw.choice(words.events)
        location = draw.choice([None, f"my.{draw.randint(0, 5)}", *words.locations])
        offset = draw.choice([-300, 0, 540])
        late_s = 50_000 if draw.random() < 0.1 else 0
        steps.append(("observe", event, at - late_s, location, offset))
        if i % 7 == 0:
            steps.append(("predict", draw.choice([None, at + draw.randint(0, 10_000)]), offset))
        if i == num_events // 2:
            steps.append(("restore",))
    return steps


@pytest.mark.parametrize("name", ["web", "../tiny_universal", None], ids=["with a bundle", "universal", "habits alone"])
@pytest.mark.parametrize("num_events", [40, 700])
def test_it_answers_what_the_sdk_answers(play, name, num_events, monkeypatch):
    bundle = None if name is None else TINY / name
    words = Bundle.open(TINY / "web").vocabulary
    steps = random_steps(words, num_events, seed=num_events)
    sdk = Predictor.load(bundle) if bundle else Predictor(model="habits")
    if bundle is None:  # the client does not follow the leader
        monkeypatch.setattr(predictor_module, "habits_or_leader", lambda known, *asked: habits_alone(*asked))
    expected, given = [], [["predict", {"at": START_S}]]
    expected.append(sdk.predict("ada", at=START_S))
    for step, *told in steps:
        if step == "observe":
            event, at, location, offset = told
            sdk.observe("ada", event, at=at, location=location, utc_offset_min=offset)
            given.append([step, event, {"at": at, "location": location, "utcOffsetMin": offset}])
        elif step == "predict":
            at, offset = told
            expected.append(sdk.predict("ada", at=at, utc_offset_min=offset))
            given += [[step, {"at": at, "utcOffsetMin": offset}], ["wait"]]
        else:
            given.append([step])
    for answer, right in zip(play(bundle, given), expected, strict=True):
        assert [p["probability"] for p in answer] == pytest.approx([p.probability for p in right], abs=2e-5)
        # Names of the same probability may change places.
        for one, other in zip(answer, right, strict=True):
            assert one["behavior"] == other.behavior or any(
                abs(other.probability - p.probability) < 4e-5 for p in right if p is not other
            )


def test_events_that_come_while_a_prediction_runs_do_not_disturb_it(play):
    events = [["observe", "a.new.name", {"at": START_S + 60 * i}] for i in range(30)]
    late = ["observe", "camera.open", {"at": START_S - 5}]
    ask = ["predict", {"at": START_S + 9000}]
    calm = play(TINY / "web", [*events, ask, ["wait"], late, ask, ["wait"], *events[:3], ask])
    busy = play(TINY / "web", [*events, ask, late, ["wait"], ask, *events[:3], ["wait"], ask])
    assert busy[-1] == calm[-1]


def test_forget_leaves_nothing(play):
    events = [["observe", "my.own", {"at": START_S + 60 * i}] for i in range(5)]
    ask = ["predict", {"at": START_S + 9000}]
    before, after = play(TINY / "web", [ask, *events, ["wait"], ["forget"], ask])
    assert after == before


def test_a_mistake_is_explained(node):
    for options, says in [
        ({"at": START_S * 1000}, "unix seconds within 1990..2100"),
        ({"at": START_S, "utcOffsetMin": 3600}, "whole minutes in -840..840"),
        ({"at": START_S, "location": ""}, "location must be a string and not empty"),
    ]:
        scenario = {"bundle": None, "steps": [["observe", "a", options]]}
        done = node(PLAY, stdin=json.dumps(scenario))
        assert says in done.stderr


@pytest.mark.parametrize("bundle", [(), (TINY / "web",)], ids=["habits alone", "with a bundle"])
def test_a_log_is_replayed(node, tmp_path, bundle):
    with (tmp_path / "log.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "time", "event", "location"])
        for i in range(12):
            rows.writerow(["ada", START_S + 86_400 * i, 'an event, "quoted"', "home"])
    done = node(EXAMPLES / "node/replay.js", tmp_path / "log.csv", *bundle)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len(lines) == 11
    assert 'an event, "quoted"' in lines[-1].partition("->")[0]
    assert last.startswith("ada: ")
    assert last.endswith(" of 11 predicted first")
