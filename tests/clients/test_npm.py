"""The npm package, packed and installed from its tarball, answers what the SDK answers, in Node and in Chromium."""

import csv
import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from scenarios import SCENARIOS, START_S, TINY, USER, assert_answers, foreign_names

from edgebehave.bundles.universal_bundle import SHIPPED

pytest.importorskip("onnxruntime")
HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
EXAMPLE, PACKAGE = ROOT / "examples" / "node", ROOT / "clients" / "npm"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def play(node):
    """play(bundle, steps, ...) -> answers; see play.js."""

    def run(bundle=None, **scenario):
        scenario["bundle"] = bundle and str(bundle)
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
@pytest.mark.slow
def test_the_universal_bundle_has_the_same_best_name_on_a_thousand_histories_in_node(node, universal_golden):
    done = node(EXAMPLE / "check_golden.js", SHIPPED, universal_golden)
    report = json.loads(done.stdout)
    assert report["histories"] == report["sameTop1"] == 1000, report["wrong"][:3]
    assert report["largestDifference"] < 1e-3


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def call(installed):
    """call(*functions of page.html) -> {function: answer}, in Chromium."""
    chromium = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("Chromium is not installed")
    shutil.copy(HERE / "page.html", installed)
    handler = functools.partial(_Quiet, directory=str(installed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def run(*functions):
            page = f"http://127.0.0.1:{server.server_port}/page.html"
            command = ["node", HERE / "open_page.js", chromium, page, *functions]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        yield run
        server.shutdown()
        thread.join()


@pytest.mark.timeout(1500)  # half a minute on an idle core
@pytest.mark.slow
def test_and_in_chromium(call, installed, universal_golden):
    shutil.copy(universal_golden, installed / "golden.jsonl.gz")
    report = call("golden")["golden"]
    assert report["histories"] == report["sameTop1"] == 1000, report["wrong"][:3]
    assert report["largestDifference"] < 1e-3


def test_a_stored_history_is_that_of_the_predictor(call):
    seen = call("stored", "upgraded")
    stored, retained = seen["stored"]["stored"], seen["stored"]["retained"]
    assert stored == retained
    assert len(stored["events"]) < 512 < stored["count"] == 541
    old = seen["upgraded"]["read"]
    assert [event["at"] - START_S for event in old["events"]] == [2, 3]
    assert old["count"] == 3
    assert seen["upgraded"]["forgotten"] == {"events": [], "count": 0}


def test_the_lines_of_its_readme_run(node, tmp_path):
    lines = re.search(r"```js\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "readme.js").write_text(lines)
    done = node(tmp_path / "readme.js")
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"mail", "music"}


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


@pytest.mark.filterwarnings("ignore:the vocabulary of the bundle:RuntimeWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_it_answers_what_the_sdk_answers(play, name, tmp_path):
    life = SCENARIOS[name](tmp_path / "bundle")
    assert_answers(play(**life.for_client()), life.expected)


@pytest.mark.filterwarnings("ignore:the vocabulary of the bundle:RuntimeWarning")
def test_without_the_universal_bundle_the_bundle_answers_for_foreign_names(play):
    life = foreign_names().for_client()
    life["steps"] = [*life["steps"], ["predict", {"at": START_S + 100_000}]]
    with_it, without = play(**life), play(**{**life, "universal": None})
    assert with_it[-1] != without[-1]


def test_events_that_come_while_a_prediction_runs_do_not_disturb_it(play):
    events = [["observe", "a.new.name", {"at": START_S + 60 * i}] for i in range(30)]
    late = ["observe", "camera.open", {"at": START_S - 5}]
    ask = ["predict", {"at": START_S + 9000}]
    more = [["observe", "a.new.name", {"at": START_S + 60 * i + 1}] for i in range(3)]
    calm = play(TINY / "web", steps=[*events, ask, ["wait"], late, ask, ["wait"], *more, ask])
    busy = play(TINY / "web", steps=[*events, ask, late, ["wait"], ask, *more, ["wait"], ask])
    assert busy[-1] == calm[-1]


def test_forget_leaves_nothing(play):
    events = [["observe", "my.own", {"at": START_S + 60 * i}] for i in range(5)]
    ask = ["predict", {"at": START_S + 9000}]
    before, after = play(TINY / "web", steps=[ask, *events, ["wait"], ["forget"], ask])
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
