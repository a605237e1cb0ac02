"""Lives of a user, told to the SDK and, as steps, to a client, with the answers that the SDK gave."""

import functools
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from recorded_runs import recorded_runs

from edgebehave import MemoryHistory, Prediction, Predictor, predictor
from edgebehave.answers.question import habits_alone
from edgebehave.bundles.bundle import Bundle, open_bundle
from edgebehave.bundles.manifest import digested_manifest
from edgebehave.bundles.universal_bundle import SHIPPED, UniversalBundle, shipped_bundle

TINY = Path(__file__).parents[1] / "edgebehave" / "tiny_bundle"
START_S = 1_767_268_800
USER = "ada"
NUM_GAPS = 600


@functools.cache
def opened(bundle: Path) -> Bundle | UniversalBundle:
    return open_bundle(bundle)


class Scenario:
    """Calls of the SDK that are also written down as steps for a client; see play.js and Replay.kt.

    steps     [[name of a method or property, ...arguments], ...]
    expected  answers of the steps that have one.
    runs      of graphs, see recorded_runs.py.
    """

    def __init__(
        self, bundle: Path | None, *, history: MemoryHistory | None = None, universal: bool = False, **options: Any
    ) -> None:
        self.bundle, self.options = bundle, options
        foreign = "universal" if universal else "bundle"
        self.universal = SHIPPED if universal else None
        model = {} if bundle else {"model": "habits"}
        given = {"max_ahead": None, "foreign": foreign, **model}
        self._predictor = functools.partial(Predictor, bundle and opened(bundle), **given)
        self.sdk = self._predictor(history=history)
        self.steps: list[list[Any]] = []
        self.expected: list[Any] = []
        self.runs: list[bytes] = []
        if universal:
            shipped_bundle()  # opened before its runs are recorded

    def for_client(self) -> dict[str, Any]:
        folders = {"bundle": self.bundle, "universal": self.universal}
        named = {name: folder and str(folder) for name, folder in folders.items()}
        return {**named, "options": {"maxAheadS": None, **self.options}, "steps": self.steps}

    def observe(self, event: str, at: int, location: str | None = None, offset: int = 0) -> None:
        self.sdk.observe(USER, event, at=at, location=location, utc_offset_min=offset)
        self.steps.append(["observe", event, {"at": at, "location": location, "utcOffsetMin": offset}])

    def predict(self, at: int | None, offset: int = 0, **asked: Any) -> None:
        """asked: options of the client; they have other names in the SDK."""
        names = {"minConfidence": "min_confidence"}
        given = {names.get(name, name): value for name, value in asked.items()}
        if "within" in given:
            given["within"] = timedelta(seconds=given["within"])
        with recorded_runs() as runs:
            answer = self.sdk.predict(USER, at=at, utc_offset_min=offset, **given)
        self._asked("predict", answer, runs, {"at": at, "utcOffsetMin": offset, **asked})

    def prediction_set(self, at: int | None, offset: int = 0, coverage: float = 0.9) -> None:
        with recorded_runs() as runs:
            answer = self.sdk.prediction_set(USER, coverage, at=at, utc_offset_min=offset)
        self._asked("predictionSet", answer, runs, {"at": at, "utcOffsetMin": offset, "coverage": coverage})

    def _asked(self, step: str, answer: list[Prediction], runs: list[bytes], asked: dict[str, Any]) -> None:
        self.expected.append([list(one) for one in answer])
        self.runs += runs
        self.steps += [[step, asked], ["wait"]]

    def forget_event(self, event: str | None = None, **match: Any) -> None:
        self.expected.append(self.sdk.forget_event(USER, event, **match))
        self.steps.append(["forgetEvents", match | ({"event": event} if event else {})])

    def forget(self) -> None:
        self.sdk.forget(USER)
        self.steps.append(["forget"])

    def export_user(self) -> str:
        self.expected.append(self.sdk.export_user(USER).decode())
        self.steps.append(["exportUser"])
        return self.expected[-1]

    def import_user(self, text: str) -> None:
        self.sdk.import_user(USER, text)
        self.steps.append(["importUser", text])

    def renew(self) -> None:
        """Let a new predictor of the SDK go on with the history; the client sees nothing of it."""
        text = self.sdk.export_user(USER)
        self.sdk = self._predictor()
        self.sdk.import_user(USER, text)

    def known_share(self) -> None:
        self.expected.append(self.sdk.known_share(USER))
        self.steps.append(["knownShare"])

    def restore(self) -> None:
        self.renew()
        self.steps.append(["restore"])


def assert_answers(answers: list[Any], expected: list[Any]) -> None:
    """Answers of a client and of the SDK; names of the same probability may change places."""
    for answer, right in zip(answers, expected, strict=True):
        if not isinstance(right, list):
            assert answer == (pytest.approx(right) if isinstance(right, float) else right)
            continue
        probs = [probability for _, probability in right]
        assert [one["probability"] for one in answer] == pytest.approx(probs, abs=2e-5)
        for one, (name, probability) in zip(answer, right, strict=True):
            alike = [other for other in probs if abs(other - probability) < 4e-5]
            assert one["behavior"] == name or len(alike) > 1


def random_life(name: str | None, num_events: int) -> Scenario:
    """Events, some late, repeated, with new or with long names, and questions now and then."""
    words = Bundle.open(TINY / "web").vocabulary
    draw = random.Random(num_events)
    life = Scenario(None if name is None else TINY / name)
    # The clients do not follow the leader.
    alone = mock.patch.object(predictor, "habits_or_leader", lambda known, *asked: habits_alone(*asked))
    at = START_S
    life.predict(at)
    with nullcontext() if name else alone:
        for i in range(num_events):
            at += draw.randint(1, 20_000)
            event = f"new.{draw.randint(0, 40)}" if draw.random() < 0.3 else draw.choice(words.events)
            if draw.random() < 0.05:
                event = "\u00fc\ud800 long " * draw.randint(100, 102)
            location = draw.choice([None, f"my.{draw.randint(0, 5)}", *words.locations])
            offset = draw.choice([-300, 0, 540])
            late_s = 50_000 if draw.random() < 0.1 else 0
            for _ in range(draw.choice([1, 1, 1, 2])):
                life.observe(event, at - late_s, location, offset)
            if i % 7 == 0:
                when = draw.choice([None, at + draw.randint(0, 10_000)])
                life.predict(when, offset)
                if name:
                    life.prediction_set(when, offset, coverage=0.7)
                if name == "web":
                    life.predict(when, offset, k=3, tail=0.6, minConfidence=0.2)
            if i == num_events // 2:
                life.restore()
    life.export_user()
    life.known_share()
    return life


def tail_shift_without_a_history() -> Scenario:
    life = Scenario(TINY / "web")
    life.predict(START_S, tail=1.0)
    life.predict(START_S, tail=0.0)
    return life


def forgotten_events() -> Scenario:
    life = Scenario(TINY / "web")
    for i in range(30):
        life.observe(f"event {i % 4}", START_S + 60 * i, "home" if i % 3 else None, 60)
    life.export_user()
    life.forget_event("event 1")
    life.forget_event(at=START_S + 600, until=START_S + 660)
    life.forget_event(location="nowhere")
    left = life.export_user()
    life.predict(START_S + 10_000)
    life.forget()
    life.predict(START_S + 10_000)
    life.import_user(left)
    life.export_user()
    life.predict(START_S + 10_000)
    return life


def old_events() -> Scenario:
    life = Scenario(None, history=MemoryHistory(max_age=timedelta(days=30)), maxAgeS=30 * 86_400)
    for i in range(90):
        life.observe("mail", START_S + 100_000 * i - (2_000_000 if i % 11 == 0 else 0))
    text = life.export_user()
    assert 20 < len(json.loads(text)["events"]) < 40
    return life


def foreign_names() -> Scenario:
    """The bundle's vocabulary holds one of ten names: the universal model answers."""
    words = Bundle.open(TINY / "web").vocabulary
    life = Scenario(TINY / "web", universal=True)
    draw = random.Random(3)
    for i in range(120):
        known = draw.choice(words.events[1:]) if draw.random() < 0.1 else f"foreign {draw.randint(0, 6)}"
        life.observe(known, START_S + 700 * i)
    life.predict(START_S + 100_000)
    life.prediction_set(START_S + 100_000)
    life.known_share()
    assert life.expected[-1] < 0.2
    return life


def waiting_times(folder: Path) -> Scenario:
    """folder: where to write a bundle that knows waiting times."""
    life = Scenario(write_waiting_bundle(folder))
    for i in range(20):
        life.observe(f"event {i % 3}", START_S + 4000 * i)
    last_s = START_S + 4000 * 19
    for waited_s, within_s in [(0, 30), (0, 700), (60, 3540), (10**6, 86_400), (-500, 60), (0, 7200)]:
        life.predict(last_s + waited_s, within=within_s)
    assert any(name == "<nothing>" for answer in life.expected for name, _ in answer)
    return life


SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "a bundle, 40 events": lambda _: random_life("web", 40),
    "a bundle, 700 events": lambda _: random_life("web", 700),
    "universal, 40 events": lambda _: random_life("../tiny_universal", 40),
    "universal, 700 events": lambda _: random_life("../tiny_universal", 700),
    "habits alone, 40 events": lambda _: random_life(None, 40),
    "habits alone, 700 events": lambda _: random_life(None, 700),
    "a tail shift without a history": lambda _: tail_shift_without_a_history(),
    "forgotten events": lambda _: forgotten_events(),
    "old events": lambda _: old_events(),
    "foreign names": lambda _: foreign_names(),
    "waiting times": waiting_times,
}
"""Name -> scenario; the folder may be written to."""


def write_waiting_bundle(folder: Path) -> Path:
    """The tiny web bundle with a graph of waiting times, which depend on the inputs."""
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    nodes = [
        helper.make_node("MatMul", ["hidden", "weight"], ["product"]),
        helper.make_node("Reshape", ["product", "all"], ["flat"]),
        helper.make_node("Cast", ["num_real"], ["real"], to=float32),
        helper.make_node("Div", ["flat", "real"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probs"], axis=0),
        helper.make_node("Mul", ["gaps", "one"], ["gap_s"]),
    ]
    manifest = json.loads((TINY / "web" / "manifest.json").read_text(encoding="utf-8"))
    width = manifest["model"]["width"]
    rng = np.random.default_rng(0)
    gaps = rng.permutation(np.geomspace(10, 200_000, NUM_GAPS)).round().astype(np.float32)
    weight = rng.normal(size=(width, NUM_GAPS)).astype(np.float32)
    constants = {"gaps": gaps, "weight": weight, "all": np.array([-1]), "one": np.array(1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "wait",
        [
            helper.make_tensor_value_info("hidden", float32, [1, width]),
            helper.make_tensor_value_info("history", int64, [4, "n"]),
            helper.make_tensor_value_info("num_real", int64, []),
        ],
        [helper.make_tensor_value_info(name, float32, ["g"]) for name in ("gap_s", "probs")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    observe = onnx.load(str(TINY / "web" / "observe.onnx"))
    model = helper.make_model(graph, opset_imports=observe.opset_import, ir_version=observe.ir_version)
    shutil.copytree(TINY / "web", folder)
    content = model.SerializeToString()
    (folder / "wait.onnx").write_bytes(content)
    manifest["files"]["wait.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))
    return folder
