"""`edgebehave demo` of an export: from the file to a bundle that predicts, for one user, without an option."""

import json
import random
from datetime import UTC, datetime, timedelta

from command_line import edgebehave

from edgebehave import Predictor


def test_an_export_of_one_user_comes_to_its_verdict_and_its_bundle(tmp_path):
    rng, time = random.Random(0), datetime(2026, 3, 2, 8, tzinfo=UTC)
    events = []
    for _ in range(700):
        time += timedelta(minutes=rng.randrange(1, 90))
        app = rng.choice(["mail", "mail", "editor", "browser", "x" * 2000])
        events.append({"timestamp": time.isoformat(), "duration": 5.0, "data": {"app": app, "title": "t"}})
    path = tmp_path / "aw-buckets-export.json"
    path.write_text(json.dumps({"buckets": {"w": {"type": "currentwindow", "events": events}}}), encoding="utf-8")
    out, err = edgebehave("demo", path, "-o", tmp_path / "demo", "--timezone", "Europe/Berlin")
    assert "is recognized as an ActivityWatch export: 700 events of one user, 'me'" in err
    assert "names: 1 of events had more than 1,024 bytes and end in a hash now" in err
    assert "warning: no intervals: they are taken over users, and this part has one user" in err
    assert "nan" not in out
    assert "95 %" not in out
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "<td>nan</td>" not in page
    assert "95 %" not in page
    assert "edgebehave" in out
    predictor = Predictor.load(tmp_path / "demo" / "bundle")
    predictor.observe("me", "x" * 2000)
    assert len(predictor.predict("me", 3)) == 3
