"""Nothing half-written: killed, interrupted or refused, a run leaves what was there before."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import edgebehave_train
from edgebehave_train.files import replaced_folder
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest

NOON = 1_400_000_000


def write_log(path, event="e"):
    rows = "".join(f"u{i % 7},{NOON + i},{event}{i % 5}\n" for i in range(2000))
    path.write_text("u,t,e\n" + rows + f"u,{NOON},\n")
    return path


def run(log, out, report=None, **options):
    config = IngestConfig(log=log, out=out, user="u", time="t", event="e", threads=1, **options)
    return ingest(config, report or (lambda line: None))


KILLED_AT_LINE = """
import os, signal, sys
from pathlib import Path
from edgebehave_train.logs.ingest import IngestConfig, ingest
log, out, stop, overwrite = sys.argv[1:]
said = 0
def report(line):
    global said
    said += 1
    if said == int(stop):
        os.kill(os.getpid(), signal.SIGKILL)
rename = Path.rename
def killed_rename(self, target):
    rename(self, target)
    if stop == "rename":
        os.kill(os.getpid(), signal.SIGKILL)
if stop == "rename":
    Path.rename = killed_rename
    report = lambda line: None
ingest(IngestConfig(log=log, out=out, user="u", time="t", event="e", threads=1,
                    overwrite=overwrite == "True"), report)
"""


def run_and_kill(log, out, stop, *, overwrite=False):
    roots = [str(Path(edgebehave_train.__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_LINE, str(log), str(out), str(stop), str(overwrite)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, roots))},
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")


@needs_kill
@pytest.mark.parametrize("line", [1, 2, 3])  # rows staged; unit settled; rejects written
def test_a_killed_run_leaves_no_store_and_the_next_one_cleans_up(tmp_path, line):
    log, out = write_log(tmp_path / "log.csv"), tmp_path / "out"
    run_and_kill(log, out, line)
    assert not out.exists()
    assert stat.S_IMODE((tmp_path / ".out.partial").stat().st_mode) == 0o700  # nobody else can read what is left
    run(log, out)
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "out"]
    assert EventStore.open(out).num_events == 2000


@needs_kill
def test_a_run_killed_while_it_replaces_a_store_gives_it_back(tmp_path):
    log, out = write_log(tmp_path / "log.csv"), tmp_path / "out"
    before = run(log, out)["fingerprint"]
    write_log(log, "other")
    run_and_kill(log, out, "rename", overwrite=True)
    assert not out.exists()  # the one moment at which the name is free
    with pytest.raises(ValueError, match="already holds an event store; use --overwrite"):
        run(log, out)
    assert EventStore.open(out).fingerprint == before
    assert run(log, out, overwrite=True)["fingerprint"] != before
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full")])
def test_an_interruption_leaves_the_store_that_was_there(tmp_path, error):
    log, out = write_log(tmp_path / "log.csv"), tmp_path / "out"
    before = run(log, out)["fingerprint"]
    write_log(log, "other")

    def report(line):
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(log, out, report, overwrite=True)
    assert EventStore.open(out).fingerprint == before
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "out"]


def test_a_store_is_replaced_only_when_asked(tmp_path):
    log, out = write_log(tmp_path / "log.csv"), tmp_path / "out"
    before = run(log, out)["fingerprint"]
    write_log(log, "other")
    with pytest.raises(ValueError, match="already holds an event store; use --overwrite"):
        run(log, out)
    assert EventStore.open(out).fingerprint == before
    assert run(log, out, overwrite=True)["fingerprint"] != before


def test_what_is_not_a_store_is_never_replaced(tmp_path):
    log = write_log(tmp_path / "log.csv")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "thesis.tex").write_text("years of work")
    out = tmp_path / "out"
    run(log, out)
    (out / "notes.txt").write_text("mine")
    for target, message in (
        (notes, "not part of an event store"),
        (log, "is a file"),
        (out, "not part of an event store"),
    ):
        with pytest.raises(ValueError, match=message):
            run(log, target, overwrite=True)
    assert (notes / "thesis.tex").read_text() == "years of work"
    assert (out / "notes.txt").read_text() == "mine"


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    log = write_log(tmp_path / "log.csv")
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert run(log, out)["num_events"] == 2000
        names = {path.name for path in out.iterdir()}
        assert {"statistics.json", "rejected.jsonl", "time_s.npy"} <= names
        assert json.loads((out / "rejected.jsonl").read_text())["line"] == 2002


def test_two_runs_at_once_do_not_disturb_each_other(tmp_path):
    log, out = write_log(tmp_path / "log.csv"), tmp_path / "out"
    with replaced_folder(out, "an event store"), pytest.raises(ValueError, match="another process is writing"):
        run(log, out)
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "out"]
