"""The page in headless Chromium: taps become predictions, and the history is the user's own."""

import functools
import http.server
import json
import subprocess
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROWSE = Path(__file__).with_name("browse.js")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """Address of the project's folder, served on this machine."""
    handler = functools.partial(_Quiet, directory=str(ROOT))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def browse(chromium: str, page: str, golden: str) -> dict:
    """What browse.js saw."""
    done = subprocess.run(["node", BROWSE, chromium, page, golden], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["errors"] == []
    return report


@pytest.fixture(scope="module", params=["with a bundle", "habits alone"])
def seen(request, chromium, site):
    """What browse.js saw."""
    bundle = "/tests/edgebehave/tiny_bundle"
    page, golden = f"{site}/examples/browser/index.html?bundle=none", ""
    if request.param == "with a bundle":
        page = f"{site}/examples/browser/index.html?bundle={bundle}/web"
        golden = f"{site}{bundle}/golden.jsonl.gz"
    return browse(chromium, page, golden)


def test_the_universal_bundle_predicts_on_the_page(chromium, site):
    report = browse(chromium, f"{site}/examples/browser/index.html?bundle=/edgebehave/universal_bundle", "")
    assert report["first"]["model"] == "The universal model, for any names"
    assert report["first"]["predictions"] == []
    assert len(report["tapped"]["predictions"]) == 3
    assert report["reloaded"]["predictions"] == report["tapped"]["predictions"]


@pytest.mark.parametrize("seen", ["with a bundle"], indirect=True)
def test_golden_vectors_have_the_same_answers(seen):
    golden = seen["golden"]
    assert golden["histories"] >= 20
    assert golden["sameTop1"] == golden["sameTop5"] == golden["histories"]
    assert golden["largestDifference"] < 1e-4


def test_taps_become_predictions(seen):
    tapped, (first, second) = seen["tapped"], seen["buttons"][:2]
    assert tapped["count"] == "7 events"
    assert tapped["history"] == [first, "my own thing", first, second, first]
    assert tapped["latency"].endswith(" ms")
    assert tapped["shares"][0].endswith(" %")
    if "golden" in seen:
        assert seen["first"]["model"].startswith("A model with 28 behaviors")
        assert len(tapped["predictions"]) == 5
    else:
        assert seen["first"]["model"] == "Your habits alone, no model"
        assert seen["first"]["predictions"] == []
        assert tapped["predictions"][0] == second, "after the first tap came the second, twice"
        assert set(tapped["predictions"]) == {first, second, "my own thing"}


def test_a_reload_keeps_the_history(seen):
    for part in ("count", "history", "predictions", "shares"):
        assert seen["reloaded"][part] == seen["tapped"][part]


def test_it_works_without_a_network(seen):
    assert seen["offline"]["count"] == "8 events"
    assert seen["offline"]["predictions"]
    for part in ("model", "count", "history", "predictions"):
        assert seen["offlineReloaded"][part] == seen["offline"][part]
    assert seen["foreign"] == [], "nothing is fetched from anywhere else"


def test_forget_empties_it(seen):
    for stage in ("forgotten", "forgottenReloaded"):
        assert seen[stage]["count"] == "0 events"
        assert seen[stage]["history"] == []
        assert seen[stage]["predictions"] == seen["first"]["predictions"]
        assert seen[stage]["shares"] == seen["first"]["shares"]
