"""The npm package, packed and installed from its tarball, answers what the SDK answers, in Node and in Chromium."""

import csv
import functools
import http.server
import json
import random
import shutil
import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

import edgebehave.predictor as predictor_module
from edgebehave import MemoryHistory, Predictor
from edgebehave.answers.question import habits_alone
from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.manifest import digested_manifest
from edgebehave.bundles.universal_bundle import SHIPPED

pytest.importorskip("onnxruntime")
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
EXAMPLE, PACKAGE = ROOT / "examples" / "node", ROOT / "clients" / "npm"
TINY = ROOT / "tests" / "edgebehave" / "tiny_bundle"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_S = 1_767_268_800
USER = "ada"


@pytest.fixture
def play(node):
    """play(folder of a bundle or None, steps, **scenario) -> answers; see play.js."""

    def run(bundle, steps, **scenario):
        scenario |= {"bundle": None if bundle is None else str(bundle), "steps": steps}
        done = node(HERE / "play.js", stdin=json.dumps(scenario))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_golden_vectors_have_the_same_answers(node):
    done = node(EXAMPLE / "check_golden.js", TINY / "web", TINY / "golden.jsonl.gz")
    report = json.loads(done.stdout)
    assert report["histories"] >= 20
    assert report["sameTop1"] == report["sameTop5"] == report["histories"]
    assert report["largestDifference"] < 1e-4
    assert done.returncode == 0


@pytest.mark.timeout(1500)  # half a minute on an idle core
def test_the_universal_bundle_has_the_same_best_name_on_a_thousand_histories_in_node(node, universal_golden):
    done = node(EXAMPLE / "check_golden.js", SHIPPED, universal_golden)
    report = json.loads(done.stdout)
    assert report["histories"] == report["sameTop1"] == 1000, report["wrong"][:3]
    assert report["largestDifference"] < 1e-3


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.timeout(1500)  # half a minute on an idle core
def test_and_in_chromium(installed, universal_golden):
    chromium = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    shutil.copy(universal_golden, installed / "golden.jsonl.gz")
    shutil.copy(HERE / "page.html", installed)
    handler = functools.partial(_Quiet, directory=str(installed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = f"http://127.0.0.1:{server.server_port}/page.html"
        command = ["node", HERE / "open_page.js", chromium, page]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        server.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["histories"] == report["sameTop1"] == 1000, report["wrong"][:3]
    assert report["largestDifference"] < 1e-3


def test_the_types_fit_an_app(installed):
    compiler = PACKAGE / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.is_file():
        pytest.skip("run `npm ci --ignore-scripts` in clients/npm first")
    app = installed / "typed"
    app.mkdir()
    shutil.copy(HERE / "typed_app.ts", app)
    options = {"module": "nodenext", "target": "es2022", "lib": ["es2022", "dom"], "strict": True, "types": []}
    options |= {"noEmit": True, "skipLibCheck": False, "exactOptionalPropertyTypes": True}
    (app / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["typed_app.ts"]}))
    done = subprocess.run(["node", compiler, "-p", app], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_types_and_code_have_the_same_names(node, tmp_path):
    script = tmp_path / "names.js"
    script.write_text(
        'import * as all from "edgebehave";'
        "const members = (one) => Object.getOwnPropertyNames(one.prototype).filter((n) => n !== 'constructor');"
        "console.log(JSON.stringify({ names: Object.keys(all), predictor: members(all.Predictor),"
        " stored: members(all.StoredHistory) }));"
    )
    found = json.loads(node(script).stdout)
    types = (PACKAGE / "index.d.ts").read_text()
    for name in found["names"]:
        assert f" {name}" in types, name
    for member in (*found["predictor"], *found["stored"]):
        assert f"  {member}(" in types or f"readonly {member}:" in types, member


def test_vectors_of_another_bundle_are_refused(node):
    done = node(EXAMPLE / "check_golden.js", TINY / "int8", TINY / "golden.jsonl.gz")
    assert done.returncode == 2
    assert "was not made from" in done.stderr


def test_a_bundle_for_another_target_is_refused(node):
    done = node(EXAMPLE / "replay.js", __file__, TINY / "int8")
    assert "for the web, got format 2 for native; export again with --target web" in done.stderr


@pytest.mark.parametrize("name", ["manifest.json", "vocabulary.json", "predict.onnx"])
def test_a_damaged_bundle_is_refused(node, tmp_path, name):
    shutil.copytree(TINY / "web", tmp_path / "web")
    content = bytearray((tmp_path / "web" / name).read_bytes())
    content[content.index(b"0.0") if name == "manifest.json" else len(content) // 2] ^= 1
    (tmp_path / "web" / name).write_bytes(content)
    done = node(EXAMPLE / "replay.js", __file__, tmp_path / "web")
    assert f"{name} of the bundle is damaged" in done.stderr


def random_steps(words, num_events, seed):
    """Events, some late, repeated, with new or with long names, and questions now and then."""
    draw = random.Random(seed)
    at, steps = START_S, []
    for i in range(num_events):
        at += draw.randint(1, 20_000)
        event = f"new.{draw.randint(0, 40)}" if draw.random() < 0.3 else draw.choice(words.events)
        if draw.random() < 0.05:
            event = "\u00fc\ud800 long " * draw.randint(100, 102)
        location = draw.choice([None, f"my.{draw.randint(0, 5)}", *words.locations])
        offset = draw.choice([-300, 0, 540])
        late_s = 50_000 if draw.random() < 0.1 else 0
        steps += [("observe", event, at - late_s, location, offset)] * draw.choice([1, 1, 1, 2])
        if i % 7 == 0:
            steps.append(("predict", draw.choice([None, at + draw.randint(0, 10_000)]), offset))
        if i == num_events // 2:
            steps.append(("restore",))
    return steps


def assert_same(answer, right):
    """Answers of the client and of the SDK; names of the same probability may change places."""
    assert [p["probability"] for p in answer] == pytest.approx([p.probability for p in right], abs=2e-5)
    for one, other in zip(answer, right, strict=True):
        assert one["behavior"] == other.behavior or any(
            abs(other.probability - p.probability) < 4e-5 for p in right if p is not other
        )


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
    expected.append(sdk.predict(USER, at=START_S))
    for step, *told in steps:
        if step == "observe":
            event, at, location, offset = told
            sdk.observe(USER, event, at=at, location=location, utc_offset_min=offset)
            given.append([step, event, {"at": at, "location": location, "utcOffsetMin": offset}])
        elif step == "predict":
            at, offset = told
            expected.append(sdk.predict(USER, at=at, utc_offset_min=offset))
            when = {"at": at, "utcOffsetMin": offset}
            given += [[step, when], ["wait"]]
            if bundle:
                expected.append(sdk.prediction_set(USER, 0.7, at=at, utc_offset_min=offset))
                given.append(["predictionSet", when | {"coverage": 0.7}])
            if name == "web":
                expected.append(sdk.predict(USER, 3, at=at, utc_offset_min=offset, tail=0.6, min_confidence=0.2))
                given.append([step, when | {"k": 3, "tail": 0.6, "minConfidence": 0.2}])
        else:
            given.append([step])
    *answers, text, share = play(bundle, [*given, ["exportUser"], ["knownShare"]])
    for answer, right in zip(answers, expected, strict=True):
        assert_same(answer, right)
    assert text == sdk.export_user(USER).decode()
    assert share == pytest.approx(sdk.known_share(USER))


def test_a_dial_without_a_history_shifts_the_priors(play):
    right = Predictor.load(TINY / "web").predict("nobody", at=START_S, tail=1.0)
    (answer,) = play(TINY / "web", [["predict", {"at": START_S, "tail": 1}]])
    assert_same(answer, right)


def test_events_are_forgotten_and_histories_travel_as_in_the_sdk(play):
    sdk = Predictor.load(TINY / "web")
    steps = []
    for i in range(30):
        sdk.observe(USER, f"event {i % 4}", at=START_S + 60 * i, location="home" if i % 3 else None, utc_offset_min=60)
        when = {"at": START_S + 60 * i, "location": "home" if i % 3 else None, "utcOffsetMin": 60}
        steps.append(["observe", f"event {i % 4}", when])
    text = sdk.export_user(USER).decode()
    span = {"at": START_S + 600, "until": START_S + 660}
    numbers = [sdk.forget_event(USER, "event 1"), sdk.forget_event(USER, **span)]
    numbers.append(sdk.forget_event(USER, location="nowhere"))
    left = sdk.export_user(USER).decode()
    forget = [["forgetEvents", {"event": "event 1"}], ["forgetEvents", span], ["forgetEvents", {"location": "nowhere"}]]
    answers = play(TINY / "web", [*steps, ["exportUser"], *forget, ["exportUser"]])
    assert answers == [text, *numbers, left]
    moved = play(TINY / "web", [["importUser", text], ["exportUser"], ["forget"], ["importUser", left], ["exportUser"]])
    assert moved == [text, left]


def test_old_events_are_dropped_as_in_the_sdk(play):
    sdk = Predictor(history=MemoryHistory(max_age=timedelta(days=30)), model="habits")
    steps = []
    for i in range(90):
        at = START_S + 100_000 * i - (2_000_000 if i % 11 == 0 else 0)
        sdk.observe(USER, "mail", at=at, utc_offset_min=0)
        steps.append(["observe", "mail", {"at": at, "utcOffsetMin": 0}])
    (text,) = play(None, [*steps, ["exportUser"]], options={"maxAgeS": 30 * 86_400})
    assert text == sdk.export_user(USER).decode()
    assert 20 < len(json.loads(text)["events"]) < 40


@pytest.mark.filterwarnings("ignore:the vocabulary of the bundle:RuntimeWarning")
def test_the_universal_model_answers_for_foreign_names(play):
    sdk = Predictor.load(TINY / "web")
    words = Bundle.open(TINY / "web").vocabulary
    draw = random.Random(3)
    steps = []
    for i in range(120):
        known = draw.choice(words.events[1:]) if draw.random() < 0.1 else f"foreign {draw.randint(0, 6)}"
        sdk.observe(USER, known, at=START_S + 700 * i, utc_offset_min=0)
        steps.append(["observe", known, {"at": START_S + 700 * i, "utcOffsetMin": 0}])
    when = {"at": START_S + 100_000, "utcOffsetMin": 0}
    asked = [["predict", when], ["predictionSet", when], ["knownShare"]]
    best, inside, share = play(TINY / "web", [*steps, *asked], universal=str(SHIPPED))
    assert_same(best, sdk.predict(USER, at=START_S + 100_000, utc_offset_min=0))
    assert_same(inside, sdk.prediction_set(USER, at=START_S + 100_000, utc_offset_min=0))
    assert share == pytest.approx(sdk.known_share(USER))
    assert share < 0.2
    (own,) = play(TINY / "web", [*steps, ["predict", when]])
    assert own != best


def test_within_a_time_nothing_is_a_candidate(play, tmp_path):
    folder = write_waiting_bundle(tmp_path / "web")
    sdk = Predictor.load(folder)
    steps, expected = [], []
    for i in range(20):
        sdk.observe(USER, f"event {i % 3}", at=START_S + 4000 * i, utc_offset_min=0)
        steps.append(["observe", f"event {i % 3}", {"at": START_S + 4000 * i, "utcOffsetMin": 0}])
    last_s = START_S + 4000 * 19
    for waited_s, within_s in [(0, 30), (0, 700), (60, 3540), (10**6, 86_400), (-500, 60), (0, 7200)]:
        within = timedelta(seconds=within_s)
        expected.append(sdk.predict(USER, at=last_s + waited_s, utc_offset_min=0, within=within))
        steps.append(["predict", {"at": last_s + waited_s, "utcOffsetMin": 0, "within": within_s}])
    answers = play(folder, steps)
    for answer, right in zip(answers, expected, strict=True):
        assert_same(answer, right)
    assert any(p["behavior"] == "<nothing>" for answer in answers for p in answer)


def write_waiting_bundle(folder):
    """The tiny web bundle with a graph of waiting times, which depend on the inputs."""
    helper = pytest.importorskip("onnx.helper")
    numpy_helper = pytest.importorskip("onnx.numpy_helper")
    onnx = pytest.importorskip("onnx")
    import hashlib

    import numpy as np

    float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    nodes = [
        helper.make_node("MatMul", ["hidden", "weight"], ["product"]),
        helper.make_node("Reshape", ["product", "all"], ["flat"]),
        helper.make_node("Cast", ["num_real"], ["real"], to=float32),
        helper.make_node("Div", ["flat", "real"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probs"], axis=0),
        helper.make_node("Mul", ["gaps", "one"], ["gap_s"]),
    ]
    width = json.loads((TINY / "web" / "manifest.json").read_text())["model"]["width"]
    gaps = np.array([60, 600, 3600, 86_400, 30], np.float32)
    weight = np.random.default_rng(0).normal(size=(width, 5)).astype(np.float32)
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
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["wait.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "manifest.json").write_bytes(digested_manifest(manifest))
    return folder


def test_events_that_come_while_a_prediction_runs_do_not_disturb_it(play):
    events = [["observe", "a.new.name", {"at": START_S + 60 * i}] for i in range(30)]
    late = ["observe", "camera.open", {"at": START_S - 5}]
    ask = ["predict", {"at": START_S + 9000}]
    more = [["observe", "a.new.name", {"at": START_S + 60 * i + 1}] for i in range(3)]
    calm = play(TINY / "web", [*events, ask, ["wait"], late, ask, ["wait"], *more, ask])
    busy = play(TINY / "web", [*events, ask, late, ["wait"], ask, *more, ["wait"], ask])
    assert busy[-1] == calm[-1]


def test_forget_leaves_nothing(play):
    events = [["observe", "my.own", {"at": START_S + 60 * i}] for i in range(5)]
    ask = ["predict", {"at": START_S + 9000}]
    before, after = play(TINY / "web", [ask, *events, ["wait"], ["forget"], ask])
    assert after == before


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (["observe", "a", {"at": START_S * 1000}], "divide them by 1000"),
        (["observe", "a", {"at": START_S, "utcOffsetMin": 3600}], "whole minutes in -840..840"),
        (["observe", "a", {"at": START_S, "location": ""}], "location must be a string and not empty"),
        (["observe", "a", {"at": int(time.time()) + 10 * 86_400}], "correct its time, or pass maxAheadS: null"),
        (["forgetEvents", {}], "needs an event"),
        (["importUser", "{}"], "not of the format"),
        (["predict", {"tail": 0.5}], "tail needs the class priors of a bundle"),
        (["predict", {"within": 60}], "generation_heads=true"),
        (["predict", {"location": "home"}], "query_context"),
        (["predictionSet", {}], "needs a bundle"),
    ],
)
def test_a_mistake_is_explained(node, step, says):
    done = node(HERE / "play.js", stdin=json.dumps({"bundle": None, "steps": [step]}))
    assert says in done.stderr


@pytest.mark.parametrize("bundle", [(), (TINY / "web",)], ids=["habits alone", "with a bundle"])
def test_a_log_is_replayed(node, tmp_path, bundle):
    with (tmp_path / "log.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user", "time", "event", "location"])
        for i in range(12):
            rows.writerow([USER, START_S + 86_400 * i, 'an event, "quoted"', "home"])
    done = node(EXAMPLE / "replay.js", tmp_path / "log.csv", *bundle)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert len(lines) == 11
    assert 'an event, "quoted"' in lines[-1].partition("->")[0]
    assert last.startswith(f"{USER}: ")
    assert last.endswith(" of 11 predicted first")
