"""The verb `universal`, and its model as a row of `evaluate`."""

import json

import pytest
from command_line import edgebehave

from edgebehave_cli.progress import UniversalBar


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("universal") / "model"
    printed, err = edgebehave("universal", "-o", out, "--steps", 2, "--workers", 0, "--json")
    return out, json.loads(printed), err


def test_progress_has_loss_and_time_left_from_the_first_step_on(model):
    _, content, err = model
    assert content["steps"] == 2
    assert content["num_parameters"] > 10_000
    assert "step 1/2  loss " in err
    assert "left" in err.splitlines()[0]


def test_a_finished_model_is_kept(model):
    out, *_ = model
    assert "which is kept; name another folder" in edgebehave("universal", "-o", out, "--steps", 2, code=2)[1]
    assert "nothing to resume" in edgebehave("universal", "-o", out, "--resume", code=2)[1]


def test_an_interrupted_run_says_how_to_go_on(tmp_path, monkeypatch, model):
    def interrupt(bar, progress):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(UniversalBar, "report", interrupt)
        arguments = ("universal", "-o", out, "--steps", 2, "--workers", 0)
        assert f"interrupted; go on with: edgebehave universal -o {out} --resume" in edgebehave(*arguments, code=130)[1]
    assert "leave --steps out" in edgebehave("universal", "-o", out, "--resume", "--steps", 9, code=2)[1]
    edgebehave("universal", "-o", out, "--resume", "--workers", 0)
    assert (out / "model.safetensors").read_bytes() == (model[0] / "model.safetensors").read_bytes()


def test_resume_needs_a_run(tmp_path):
    assert "holds no universal model" in edgebehave("universal", "-o", tmp_path, "--resume", code=2)[1]


def test_evaluate_shows_the_universal_model_with_repeats_apart(tmp_path, model):
    edgebehave("simulate", tmp_path / "log.csv", "--users", 20, "--days", 20)
    edgebehave("ingest", tmp_path / "log.csv", "-o", tmp_path / "store", "--location", "location")
    small = ("--set", "width=16", "--set", "num_heads=1", "--set", "window=12", "--preset", "tiny", "--epochs", 1)
    edgebehave("train", tmp_path / "store", "-o", tmp_path / "model", *small)
    arguments = ("evaluate", tmp_path / "model", "-s", tmp_path / "store", "--no-variants", "--resamples", 20)
    table, _ = edgebehave(*arguments, "--universal", model[0])
    assert "| universal " in table
    assert "| repeats |" in table
    assert "% of them new to their user" in table.splitlines()[0]
    assert "repeats" not in edgebehave(*arguments)[0]
    content = json.loads(edgebehave(*arguments, "--universal", model[0], "--json")[0])
    rows = {row["name"]: row["metrics"] for row in content["rows"]}
    assert 0 < content["share_new"] < 0.5
    # A universal model never names a behavior that its user has not had.
    one = rows["universal"]
    assert one["hr_at_1"][0] == pytest.approx(one["hr_at_1_repeats"][0] * (1 - content["share_new"]), abs=0.02)
