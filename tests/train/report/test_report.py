"""The report of a run: what it says, what it draws, and that it needs no network."""

import dataclasses
import json
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import typer
from command_line import edgebehave

from edgebehave.answers.combination import Powers
from edgebehave_cli.app import app
from edgebehave_export.bundle import export_bundle
from edgebehave_train.evaluation import table as table_module
from edgebehave_train.evaluation.table import EVENTS_SEEN, evaluate
from edgebehave_train.evaluation.verdict import verdict
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.bootstrap import Interval
from edgebehave_train.report.report import next_commands, write_report
from edgebehave_train.report.slices import all_slices
from edgebehave_train.training.checkpoint import Checkpoint, write_description
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.universal.own_names import write_lookup


@pytest.fixture(scope="module")
def trained(tiny_store, recipe, tmp_path_factory):
    return pretrain(tiny_store, recipe(epochs=1), tmp_path_factory.mktemp("report") / "model")


@pytest.fixture(scope="module")
def table(tiny_store, trained, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    tune = table_module.tune_habits
    patch.setattr(table_module, "tune_habits", lambda log, targets: tune(log, targets, 60))
    copied = shutil.copytree(trained.path, tmp_path_factory.mktemp("table") / "model")
    yield evaluate(tiny_store, [Checkpoint.open(copied)], num_resamples=20)
    patch.undo()


@pytest.fixture(scope="module")
def page(tiny_store, trained, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(tiny_store, trained, out, table=table, name="a <log> & more")
    return out.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag of a page, and the ones that are open at its end."""

    def __init__(self, page):
        super().__init__()
        self.opened, self.tags, self.links = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag not in ("meta", "path", "use"):
            self.opened.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag):
        if self.opened and self.opened[-1] == tag:
            self.opened.pop()


def test_it_is_one_page_that_loads_nothing(page):
    tags = Tags(page)
    assert [tag for tag in tags.opened if tag not in ("link", "path", "use")] == []
    assert [link for link in tags.links if not link.startswith("#")] == []
    assert "url(http" not in page
    assert not {"script", "iframe", "img"} & set(tags.tags)


def test_it_holds_every_row_and_escapes_names(page, table):
    assert "a &lt;log&gt; &amp; more" in page
    for row in table.rows:
        assert f"{row.metrics['hr_at_3'].value:.3f}" in page
    assert verdict(table).split(":")[0] in page
    assert page.count("<svg") >= 4
    assert "2,400 events of 40 users" in page


def test_charts_take_their_colors_from_the_page(page):
    assert "var(--series-1)" in page
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", drawn)


def test_it_says_from_which_payoff_an_action_pays(page):
    assert "Acting only when sure" in page
    assert '<th scope="col">pays from benefit / cost</th>' in page


def with_difference(table, low, high):
    """The table as if the paired difference from every row had these ends."""
    rows = [
        row
        if row.model_minus_this is None
        else dataclasses.replace(
            row,
            model_minus_this=row.model_minus_this | {"hr_at_1": Interval(value=(low + high) / 2, low=low, high=high)},
        )
        for row in table.rows
    ]
    return dataclasses.replace(table, rows=rows)


def test_the_verdict_follows_the_paired_interval(table):
    assert "predicts better than every baseline" in verdict(with_difference(table, 0.01, 0.03))
    assert "predicts worse than" in verdict(with_difference(table, -0.03, -0.01))
    assert "as well as the best baseline" in verdict(with_difference(table, -0.01, 0.03))
    assert "one user gives no interval" in verdict(with_difference(table, np.nan, np.nan))


def test_slices_hold_the_targets_and_their_hits(tiny_store, trained, table):
    rows = [row for row in table.rows if row.name in ("habits", "model")]
    slices = all_slices(tiny_store, trained.vocabulary, rows)
    hits = table.row("habits").metrics["hr_at_1"].value * table.num_targets
    for kind in ("hour", "novelty"):
        part = slices[kind]
        if sum(part.num_targets) == table.num_targets:
            summed = np.dot(part.num_targets, part.hr_at_1["habits"])
            assert summed == pytest.approx(hits)
    targets = rows[0].predictions.targets
    seen = targets.event - tiny_store.user_start[targets.user]
    ranges = dict(zip(slices["seen"].labels, slices["seen"].num_targets, strict=True))
    low = EVENTS_SEEN[EVENTS_SEEN.index(20)]
    assert ranges["20-49"] == np.count_nonzero((seen >= low) & (seen < 50))


def test_a_bundle_of_another_log_is_refused(tiny_store, trained, table, tmp_path):
    (tmp_path / "manifest.json").write_text('{"source": {"data_fingerprint": "other"}}')
    with pytest.raises(ValueError, match="was exported from a checkpoint of another log"):
        write_report(tiny_store, trained, tmp_path / "report.html", table=table, bundle=tmp_path)
    source = {"data_fingerprint": trained.training.data_fingerprint, "weights_sha256": "other"}
    (tmp_path / "manifest.json").write_text(json.dumps({"source": source}))
    with pytest.raises(ValueError, match="has other weights than"):
        write_report(tiny_store, trained, tmp_path / "report.html", table=table, bundle=tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("bundle", [None, Path("my bundle")])
def test_its_commands_can_be_typed(tiny_store, trained, monkeypatch, bundle):
    monkeypatch.setattr(EventStore, "users", lambda self: ["-o user's name"])
    verbs = typer.main.get_command(app).commands
    for command in next_commands(tiny_store, trained, bundle):
        name, verb, *arguments = shlex.split(command)
        given = verbs[verb].make_context(verb, arguments).params
        assert name == "edgebehave"
        assert given["store"] == tiny_store.path
        assert given.get("user", "-o user's name") == "-o user's name"
        assert given.get("bundle", bundle) == bundle


@pytest.mark.parametrize("kept", ["combined", "named", "universal"])
def test_a_run_from_the_universal_model_says_what_answers(universal_start, tmp_path, kept):
    store, checkpoint = universal_start
    run = shutil.copytree(checkpoint.path, tmp_path / "run")
    lookup = checkpoint.load_model().lookup
    both = Powers(universal=0.6, named=0.5)
    by_name = {"universal": Powers(), "named": Powers(universal=0, named=1), "combined": both}
    lookup.powers = by_name[kept]
    write_lookup(run, lookup)
    said = {"kept": kept, "powers": dataclasses.asdict(lookup.powers), "validation": {}}
    training = dataclasses.replace(checkpoint.training, universal=said)
    write_description(run, checkpoint.config, checkpoint.model_config, checkpoint.vocabulary, training)
    export_bundle(run, store.path, tmp_path / "bundle")
    write_report(store, Checkpoint.open(run), tmp_path / "report.html", part="test", bundle=tmp_path / "bundle")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("the universal model as it is" in page) == (kept == "universal")
    assert ("the trained model alone" in page) == (kept == "named")
    assert ("trained and universal model together" in page) == (kept == "combined")
    assert "int8: largest change of a probability, universal model" in page
    assert ("int8: same first prediction as fp32, trained model alone" in page) == (kept != "universal")
    assert "nan" not in page


def test_the_verb_measures_and_writes_beside_the_checkpoint(tiny_store, trained, tmp_path):
    run = shutil.copytree(trained.path, tmp_path / "run")
    _, err = edgebehave("report", run, "--store", tiny_store.path)
    assert f"report -> {run}/report.html" in err
    assert EventStore.open(tiny_store.path).fingerprint[:16] in (run / "report.html").read_text(encoding="utf-8")
    _, err = edgebehave("report", run, code=2)
    assert "add --store" in err
