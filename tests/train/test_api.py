"""Training from Python: a log becomes a store, a checkpoint, a table and a bundle."""

import pytest

import edgebehave_train
from edgebehave import Predictor
from edgebehave_export import export
from edgebehave_train import Checkpoint, EventStore, evaluate, ingest, train

SMALL = {"width": 16, "num_layers": 1, "num_heads": 1, "epochs": 1, "window": 32}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A day of three behaviors, repeated by six users for forty days."""
    path = tmp_path_factory.mktemp("api") / "log.csv"
    lines = [
        f"{user},{1_772_000_000 + 86400 * day + 3600 * hour + 60 * user},{app}"
        for user in range(6)
        for day in range(40)
        for hour, app in ((1, "mail"), (5, "maps"), (9, "music"))
    ]
    path.write_text("uid,ts,app\n" + "\n".join(lines), encoding="utf-8")
    return path


def test_from_a_log_to_a_bundle(log, tmp_path, capsys):
    store = ingest(log, tmp_path / "store", user="uid", time="ts", event="app")
    assert "720 events" in capsys.readouterr().out
    assert repr(store) == f"EventStore('{tmp_path}/store': 720 events of 6 users, 3 behaviors)"

    run = train(store, tmp_path / "run", preset="tiny", **SMALL)
    assert "epoch 1/1: validation loss" in capsys.readouterr().out
    assert repr(run) == f"Checkpoint('{tmp_path}/run': ce, 1 of 1 epochs)"
    assert run.config.width == 16

    table = evaluate(run, tmp_path / "store", num_resamples=20)
    frame = table.to_pandas()
    markov = frame[(frame.predictor == "online_markov_1") & (frame.metric == "hr_at_1")].iloc[0]
    assert markov.value == 1
    model = frame[(frame.kind == "model") & (frame.metric == "hr_at_1")].iloc[0]
    assert markov.model_minus_this == pytest.approx(model.value - markov.value)
    assert len(repr(table)) < 200
    assert f"<td>run</td><td>{model.value:.3f}</td>" in table._repr_html_()

    report = export(run, tmp_path / "bundle", store=store, precision="fp32")
    assert report.passed
    assert repr(report).startswith(f"ParityReport({len(report.checks)} checks, all passed, ")
    assert list(report.to_pandas().name) == [check.name for check in report.checks]
    assert report._repr_html_().startswith("<pre>parity on ")
    predictor = Predictor.load(tmp_path / "bundle", max_ahead=None)
    predictor.observe("me", "mail", at=1_772_000_000)
    assert len(predictor.predict("me", k=3)) == 3


def test_a_killed_run_is_resumed_with_its_own_settings(tiny_store, tmp_path):
    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.kind == "validation":
            raise KilledError

    whole = train(tiny_store, tmp_path / "whole", preset="tiny", **SMALL | {"epochs": 2})
    with pytest.raises(KilledError):
        train(tiny_store, tmp_path / "killed", preset="tiny", on_progress=kill, **SMALL | {"epochs": 2})
    resumed = train(tiny_store.path, tmp_path / "killed", resume=True)
    assert resumed.config == whole.config
    assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()


def test_wrong_words_are_named(tiny_store, tmp_path):
    with pytest.raises(ValueError, match=r"preset must be one of tiny, edge, .*, got 'small'"):
        train(tiny_store, tmp_path / "run", preset="small")
    with pytest.raises(TypeError, match="'places'"):
        ingest("log.csv", tmp_path / "store", places="where")
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        edgebehave_train.predict  # noqa: B018  # the attribute is the test


def test_classes_of_the_api_are_those_of_the_package(tiny_store):
    assert isinstance(EventStore.open(tiny_store.path), edgebehave_train.logs.event_store.EventStore)
    assert Checkpoint is edgebehave_train.training.checkpoint.Checkpoint
