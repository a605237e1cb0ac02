"""The page in headless Chromium: taps become predictions, and the history is the user's own."""

import csv
import functools
import http.server
import json
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROWSE, FIRST_VISITS, OPEN_LOGS = map(Path(__file__).with_name, ("browse.js", "first_visits.js", "open_logs.js"))


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


def run_script(script: Path, *arguments: object) -> dict:
    """The JSON that a script in Node prints."""
    done = subprocess.run(["node", script, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def browse(chromium: str, page: str, golden: str) -> dict:
    """What browse.js saw."""
    report = run_script(BROWSE, chromium, page, golden)
    assert report["errors"] == []
    return report


TINY_BUNDLE = "/tests/edgebehave/tiny_bundle"
PAGE = "/examples/browser/index.html"


@pytest.fixture(scope="module", params=["with a bundle", "habits alone"])
def seen(request, chromium, site):
    """What browse.js saw."""
    if request.param == "with a bundle":
        return browse(chromium, f"{site}{PAGE}?bundle={TINY_BUNDLE}/web", f"{site}{TINY_BUNDLE}/golden.jsonl.gz")
    return browse(chromium, f"{site}{PAGE}?bundle=none", "")


def test_the_universal_bundle_predicts_on_the_page(chromium, site):
    report = browse(chromium, f"{site}{PAGE}?bundle=/edgebehave/universal_bundle", "")
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


def test_two_users_at_once_get_what_each_gets_alone(seen):
    assert seen["together"]


def test_taps_become_predictions(seen):
    tapped, (first, second) = seen["tapped"], seen["buttons"][:2]
    assert tapped["count"] == "7 events"
    assert tapped["history"] == [first, "My own thing", first, second, first, second]
    assert tapped["latency"].endswith(" ms")
    assert tapped["shares"][0].endswith(" %")
    assert "My own thing" in seen["buttons"]
    assert tapped["spoken"] == f"Most likely next: {tapped['predictions'][0]}, {tapped['shares'][0]}."
    if "golden" in seen:
        assert seen["first"]["model"].startswith("A model with 28 behaviors")
        assert len(tapped["predictions"]) == 5
        assert tapped["set"].startswith("With 80 % one of: ")
    else:
        assert seen["first"]["model"] == "Your habits alone, no model"
        assert seen["first"]["predictions"] == []
        assert tapped["predictions"][0] == second, "after the first tap came the second, twice"
        assert set(tapped["predictions"]) == {first, second, "My own thing"}
        assert tapped["why"][0] == f"2 of 3 times after {first}"
        assert tapped["set"] is None, "habits alone have no thresholds"


def test_names_and_places_are_for_people(seen):
    if "golden" in seen:
        assert seen["buttons"][:3] == ["Clips: watch", "Clips", "Clips: like"]
        assert seen["places"][:5] == ["Anywhere", "Home", "Work", "Transit", "New York: restaurant 21"]
        assert seen["first"]["predictions"][0] == "Watching video clips"
    else:
        assert seen["buttons"][:3] == ["Alarm", "News", "Coffee"]
        assert seen["places"] == ["Anywhere", "Home", "Work", "On the way", "Out"]


def test_predictions_can_be_had_for_a_later_moment(seen):
    assert seen["later"]["when"].split()[0] in ("today", "tomorrow")
    assert seen["later"]["count"] == "7 events"
    assert seen["later"]["predictions"]
    assert seen["nowAgain"] == "now", "a tap happens now"


def test_hits_are_counted_beside_counting_alone(seen):
    names, first, among_three = zip(*seen["hits"], strict=True)
    assert names == ("edgebehave", "most frequently used", "follow the leader")
    assert all(share.endswith(" %") for share in first + among_three)
    assert seen["hitsReloaded"] == seen["hits"]


def test_the_last_event_can_be_taken_back(seen):
    for part in ("count", "history", "predictions"):
        assert seen["undone"][part] == seen["tapped"][part]


def test_a_reload_keeps_the_history(seen):
    for part in ("count", "history", "predictions", "shares"):
        assert seen["reloaded"][part] == seen["undone"][part]


def test_it_works_without_a_network(seen):
    assert seen["offline"]["count"] == "8 events"
    assert seen["offline"]["predictions"]
    for part in ("model", "count", "history", "predictions"):
        assert seen["offlineReloaded"][part] == seen["offline"][part]
    assert seen["foreign"] == [], "nothing is fetched from anywhere else"


def test_forget_asks_and_empties_it(seen):
    assert seen["question"] == "Forget all 8 events? They cannot be brought back."
    assert seen["notForgotten"]["count"] == "8 events"
    for stage in ("forgotten", "forgottenReloaded"):
        assert seen[stage]["count"] == "0 events"
        assert seen[stage]["history"] == []
        assert seen[stage]["predictions"] == seen["first"]["predictions"]
        assert seen[stage]["shares"] == seen["first"]["shares"]


@pytest.mark.timeout(1800)  # a minute on an idle core
@pytest.mark.slow
def test_each_of_twenty_first_visits_works_without_a_server_afterwards(chromium):
    report = run_script(FIRST_VISITS, chromium, ROOT, f"{PAGE}?bundle={TINY_BUNDLE}/web", 20)
    assert report["wrong"] == []
    assert report["works"] == 20
    assert report["broken"].startswith("Online only: "), "a file that cannot be saved is said"
    updated = report["updated"]
    assert updated["states"] == [False, True, False], "a new version is told, and there after a reload"
    assert updated["color"] == "rgb(1, 2, 3)"


@pytest.fixture(scope="module")
def opened(chromium, site, tmp_path_factory):
    """What open_logs.js saw, with the universal model."""
    folder = tmp_path_factory.mktemp("logs")
    start, evil = datetime(2026, 3, 2, 8, tzinfo=UTC), '<img src=x onerror="window.hacked=1">'
    day = [(0, "Firefox"), (0.5, "slack.open"), (1, "code.exe"), (3, "Firefox"), (4, "code.exe"), (6, evil)]
    events = [(start + timedelta(days=d, hours=h), name) for d in range(12) for h, name in day]
    window = [{"timestamp": t.isoformat(), "duration": 3.5, "data": {"app": name}} for t, name in events]
    away = {"timestamp": start.isoformat(), "duration": 60, "data": {"status": "afk"}}
    buckets = {"w": {"type": "currentwindow", "events": window[::-1]}, "a": {"type": "afkstatus", "events": [away]}}
    (folder / "aw.json").write_text(json.dumps({"buckets": buckets}))
    activities = [{"header": "Search", "title": name, "time": t.isoformat()} for t, name in events]
    (folder / "MyActivity.json").write_text(json.dumps(activities))
    with (folder / "table.csv").open("w", newline="") as out:
        rows = [("ab"[i % 3 == 0], t.isoformat(), name) for i, (t, name) in enumerate(events)]
        csv.writer(out).writerows([("uid", "when", "app"), *rows])
    (folder / "odd.csv").write_text("wann,was\n03/02/2026 8:00,x\n")
    (folder / "page.html").write_text("<!DOCTYPE html><html></html>")
    long = [f"{int(start.timestamp()) + 600 * i},app {i * i % 97}" for i in range(60_000)]
    (folder / "long.csv").write_text("\n".join(["time,event", *long]))
    logs = ("aw.json", "MyActivity.json", "table.csv", "odd.csv", "page.html", "long.csv")
    page = f"{site}{PAGE}?bundle=/edgebehave/universal_bundle"
    report = run_script(OPEN_LOGS, chromium, page, *(folder / log for log in logs))
    assert report["errors"] == []
    return report


def test_logs_show_what_would_have_been_predicted(opened):
    names = ["edgebehave", "most frequently used", "most recently used", "Markov chain of order 1", "follow the leader"]
    accounts = {
        "aw.json": (71, "an ActivityWatch export, 71 events, apps in the foreground; left out 1 while away"),
        "MyActivity.json": (72, "My Activity of Google Takeout, 72 events"),
        "table.csv": (48, "a table, 48 events"),
    }
    for log, (number, account) in accounts.items():
        seen = opened["logs"][log]
        assert seen["error"] is None
        assert [name for name, *_ in seen["scores"]] == names
        assert f"{number - 1} events" in seen["verdict"]
        assert account in seen["account"]
        assert "h: " in seen["hours"]
        assert len(seen["latest"]) == 6
    assert opened["logs"]["aw.json"]["latest"][0] == '<img src=x onerror="window.hacked=1">'
    assert opened["isHacked"] is False, "names are text"


def test_a_log_that_cannot_be_read_says_why(opened):
    assert opened["logs"]["odd.csv"]["columns"], "columns can be chosen"
    assert opened["logs"]["page.html"]["error"] == "page.html is HTML; choose JSON for My Activity in Google Takeout."


def test_the_page_stays_alive_and_a_long_log_can_be_stopped(opened):
    assert opened["isRunning"]
    assert opened["typed"] == "alive"
    assert "60,000 events" in opened["stopped"]["account"]
    assert "stopped after" in opened["stopped"]["account"]


def test_a_log_can_become_the_history(opened):
    assert opened["adopted"]["count"] == "71 events"
    assert {"Firefox", "Code", "Slack"} <= set(opened["adopted"]["buttons"][:5])
    assert all(" of " in why for why in opened["adopted"]["why"])


def test_no_request_leaves_for_another_host(opened):
    assert opened["leaks"]["got"] == []
    assert {"connect-src", "img-src"} <= set(opened["leaks"]["refused"])


def test_axe_finds_no_fault(opened):
    assert opened["faults"] == []
    assert len(opened["checked"]) == 6, "light and dark, the question, 390 and 1,440 pixels"
    assert min(opened["checked"].values()) > 10, "rules that the page passes"
    assert opened["widest"] <= 0, "nothing is wider than the window"


def test_every_control_is_reached_by_the_keyboard(opened):
    controls = {"when", "location", "name", "Add", "undo", "forget", "log-open", "log-sample", "Predict from this log"}
    assert controls <= set(opened["focused"])
