"""Golden vectors: which histories, what stands in the file, and where it may not lie."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from edgebehave_export.parity.golden import check_golden_path, golden_questions, write_golden
from edgebehave_train.logs.split import SplitConfig, part_bounds

TINY = Path(__file__).parents[2] / "edgebehave" / "tiny_bundle"


def lines_of(file):
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def written(tiny_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("golden") / "golden.jsonl.gz"
    return write_golden(TINY / "web", tiny_store, SplitConfig(), out, 50), out


def test_every_user_is_asked_about_before_one_is_asked_about_twice(tiny_store):
    split = SplitConfig()
    questions = golden_questions(tiny_store, split, history_events=20, num_histories=60)
    assert len(set(questions)) == 60
    users = [question.user for question in questions]
    assert set(users[:40]) == set(range(40))
    bounds = part_bounds(tiny_store, split)
    for user, start, stop in questions:
        first, train_stop, validation_stop, _ = bounds[user]
        assert max(train_stop, first + 1) <= stop < validation_stop
        assert start == max(first, stop - 20)
        assert tiny_store.behavior[stop] > 0


def test_fewer_histories_where_the_log_has_fewer(tiny_store):
    questions = golden_questions(tiny_store, SplitConfig(), 512)
    bounds = part_bounds(tiny_store, SplitConfig())
    assert len(questions) == sum((tiny_store.behavior[b[1] : b[2]] > 0).sum() for b in bounds)


def test_a_log_without_a_validation_part(tiny_store):
    with pytest.raises(ValueError, match="no validation part to take histories from"):
        golden_questions(tiny_store, SplitConfig(by="user", validation=0.001), 512)


def test_the_file_holds_what_a_client_is_told_and_asked(written, tiny_store):
    num_histories, file = written
    header, *lines = lines_of(file)
    assert num_histories == header["histories"] == len(lines) == 50
    manifest = (TINY / "web" / "manifest.json").read_bytes()
    assert header["manifest"] == hashlib.sha256(manifest).hexdigest()
    assert header["locations"][0] is None
    questions = golden_questions(tiny_store, SplitConfig(), 512, 50)
    for line, question in zip(lines, questions, strict=True):
        events = list(tiny_store.named_events(question.user))
        begin = int(tiny_store.user_start[question.user])
        history = events[question.start - begin : question.stop - begin]
        assert [header["events"][i] for i in line["event"]] == [e.event for e in history]
        assert [header["locations"][i] for i in line["location"]] == [e.location for e in history]
        assert sum(line["time_step_s"]) == history[-1].time_s
        assert line["at"] in (None, events[question.stop - begin].time_s)
        probs = [prob for _, prob in line["expected"]]
        assert len(probs) == 5
        assert probs == sorted(probs, reverse=True)
    assert sum(line["at"] is None for line in lines) == 50 // 8


def test_the_same_log_gives_the_same_file(written, tiny_store, tmp_path):
    again = tmp_path / "again.gz"
    write_golden(TINY / "web", tiny_store, SplitConfig(), again, 50)
    assert again.read_bytes() == written[1].read_bytes()


def test_histories_never_ship_inside_a_bundle(tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    with pytest.raises(ValueError, match="ship users' histories with it"):
        check_golden_path(bundle / "golden.gz", bundle)
    check_golden_path(tmp_path / "golden.gz", bundle)
    with pytest.raises(ValueError, match="must be a file, in a folder that exists"):
        check_golden_path(tmp_path / "nowhere" / "golden.gz", bundle)
