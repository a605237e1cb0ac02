"""The verb `distill`: its result is a checkpoint that exports, and a mistake is one line."""

import json

import pytest
from command_line import edgebehave

SETTINGS = (
    *("--preset", "tiny", "--epochs", 1, "--samples", 100),
    *("--set", "width=32", "--set", "window=12"),
)


@pytest.fixture(scope="module")
def taught(tiny_store, tiny_checkpoint, tmp_path_factory):
    """A checkpoint that another one taught, and what the command printed."""
    out = tmp_path_factory.mktemp("taught") / "run"
    teacher = ("--teacher", tiny_checkpoint.path)
    printed, said = edgebehave("distill", tiny_store.path, *teacher, "-o", out, *SETTINGS, "--json")
    return out, json.loads(printed), said


def test_the_result_is_a_checkpoint_like_any_other(taught, tiny_store, tmp_path):
    out, training, said = taught
    assert training["finished"]
    assert training["origin"]["teacher"]["checkpoint"] == "checkpoint"
    assert training["origin"]["answers"]["num"] == 100
    assert "100 answers of the teacher" in said
    table, _ = edgebehave("evaluate", out, "-s", tiny_store.path, "--resamples", 10)
    assert "| run " in table
    bundle = tmp_path / "bundle"
    edgebehave("export", out, "-o", bundle, "--store", tiny_store.path)
    assert (bundle / "manifest.json").is_file()


def test_the_answers_serve_other_students(taught, tiny_store, tiny_checkpoint, tmp_path):
    answers = taught[0].with_name("run.teacher.safetensors")
    given = ("--answers", answers, "-o", tmp_path / "b", "--json")
    printed, _ = edgebehave("distill", tiny_store.path, *given, *SETTINGS, "--seed", 1)
    assert json.loads(printed)["origin"]["answers"] == taught[1]["origin"]["answers"]
    start = ("--from", tiny_checkpoint.path, "--epochs", 1)
    given = ("--answers", answers, "-o", tmp_path / "c", "--json")
    printed, _ = edgebehave("distill", tiny_store.path, *given, *start)
    assert json.loads(printed)["origin"]["student"]


def test_several_teach_all_that_they_know(taught, tiny_store, tiny_checkpoint, tmp_path):
    teachers = ("--teacher", tiny_checkpoint.path, "--teacher", taught[0])
    settings = ("--preset", "tiny", "--epochs", 1, *SETTINGS[6:], "--json")
    out = ("-o", tmp_path / "run")
    printed, _ = edgebehave("distill", tiny_store.path, *teachers, *out, *settings)
    origin = json.loads(printed)["origin"]
    names = [card["checkpoint"] for card in origin["teacher"]["teachers"]]
    assert names == ["checkpoint", "run"]
    assert origin["answers"]["num"] > 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is no teacher; name one by --teacher"),
        (("--teacher", "nowhere"), "nowhere is not a checkpoint"),
        (("--from", "{checkpoint}", "--preset", "tiny"), "--from brings its own preset"),
        (("--teacher", "{checkpoint}", "--split", "user"), "the teacher learned on this log with"),
        (("--teacher", "{checkpoint}", "--set", "no=1"), "there is no setting 'no'"),
    ],
)
def test_a_mistake_is_one_line(tiny_store, tiny_checkpoint, tmp_path, arguments, message):
    given = [str(one).format(checkpoint=tiny_checkpoint.path) for one in arguments]
    _, error = edgebehave("distill", tiny_store.path, "-o", tmp_path / "out", *given, code=2)
    assert message in error
    assert "Traceback" not in error


def test_a_finished_run_is_not_resumed(taught, tiny_store, tiny_checkpoint):
    teacher = ("--teacher", tiny_checkpoint.path)
    command = ("distill", tiny_store.path, *teacher, "-o", taught[0], *SETTINGS)
    assert "is finished; nothing to resume" in edgebehave(*command, "--resume", code=2)[1]
    assert "already holds a checkpoint" in edgebehave(*command, code=2)[1]
