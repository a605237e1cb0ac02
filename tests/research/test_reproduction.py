"""What the commands that make tables share: verbs that are resumed, and the logs."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from edgebehave_train.llm.prompts.conversations import read_conversations
from edgebehave_train.metrics.bootstrap import Interval

RESEARCH = Path(__file__).parents[2] / "research"


def test_a_checkpoint_is_trained_resumed_and_left_alone(tmp_path, monkeypatch):
    verbs, calls = import_module("verbs"), []
    monkeypatch.setattr(verbs, "run", lambda *arguments: calls.append(arguments))
    out = tmp_path / "run"
    out.mkdir()
    verbs.finish(out, ("train", "store"), ("--seed", "1"))
    (out / "config.json").write_text("{}")
    (out / "training.json").write_text(json.dumps({"finished": False}))
    verbs.finish(out, ("train", "store"), ("--seed", "1"))
    (out / "training.json").write_text(json.dumps({"finished": True}))
    verbs.finish(out, ("train", "store"), ("--seed", "1"))
    assert calls == [
        ("train", "store", "-o", str(out), "--seed", "1"),
        ("train", "store", "-o", str(out), "--resume"),
    ]
    assert verbs.seconds_of(out) >= 0


def test_a_verb_gives_back_what_it_prints_and_stops_a_table_that_it_fails(tmp_path):
    run, log = import_module("verbs").run, tmp_path / "log.csv"
    printed = run("simulate", str(log), "--users", "3", "--days", "2", "--json")
    assert json.loads(printed)["out"] == str(log)
    with pytest.raises((ValueError, OSError), match="none"):
        run("train", str(tmp_path / "none"), "-o", str(tmp_path / "run"))


def test_a_research_log_without_its_folder_says_so(tmp_path):
    logs = import_module("research_logs")
    with pytest.raises(SystemExit, match="tokyo needs --data"):
        logs.ingested("tokyo", None, tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in RESEARCH.glob("reproduce_*.py")))
def test_every_table_has_a_help(name, monkeypatch, capsys):
    if name == "reproduce_peers":
        pytest.importorskip("rectools", reason="the peers have an environment of their own")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        import_module(name).main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_the_instructions_are_as_many_as_the_general_conversations_and_others():
    instructions, general = read_conversations(RESEARCH / "instructions.jsonl"), read_conversations()
    assert len(instructions) == len(general) == 86
    assert not instructions.rejected
    assert {len(messages) for messages in instructions.conversations} == {2}
    asked, others = ({m[0]["content"] for m in of.conversations} for of in (instructions, general))
    assert len(asked) == 86
    assert not asked & others


def test_a_table_of_language_models_says_when_its_base_is_a_stand_in(tmp_path):
    pytest.importorskip("transformers")
    behaviorlm = import_module("reproduce_behaviorlm")
    assert behaviorlm.what_it_is(tmp_path) == f"base: {tmp_path.name}"
    record = {"num_parameters": 10, "num_tokens": 20, "knows": {"tail_top_1": 0.5}}
    (tmp_path / "pretraining.json").write_text(json.dumps(record))
    assert "TRAINED FROM SCRATCH" in behaviorlm.what_it_is(tmp_path)
    (tmp_path / "pretraining.json").write_text(json.dumps({**record, "log": "0123"}))
    assert "about the users of a log" in behaviorlm.what_it_is(tmp_path)
    one = dict.fromkeys(behaviorlm.COLUMNS, Interval(value=0.25, low=0.2, high=0.3))
    runs = [
        {"as it is": run, "adjusted": one} for run in (one, {**one, "tail": Interval(value=0.75, low=0.5, high=1.0)})
    ]
    table = behaviorlm.markdown({"A": runs}, ["as it is", "adjusted"])
    assert "| A, adjusted | 0.250 ± 0.000 |" in table
    assert "| A | 0.250 ± 0.000 | 0.250 ± 0.000 | 0.250 ± 0.000 | 0.500 ± 3.177 |" in table
    assert "| A | 0.250 [0.200, 0.300] |" in behaviorlm.markdown({"A": runs[:1]}, ["as it is"])


def test_a_row_that_was_measured_is_not_measured_again(tmp_path):
    pytest.importorskip("transformers")
    trial = object.__new__(import_module("reproduce_behaviorlm").Trial)
    trial.out = tmp_path
    content = {"metrics": {"adjusted": {"tail": 0.5}}, "intervals": {"adjusted": {"tail": [0.25, 0.75]}}}
    (tmp_path / "A.json").write_text(json.dumps(content))
    assert trial.row("A", lambda samples: 1 / 0) == {"adjusted": {"tail": Interval(value=0.5, low=0.25, high=0.75)}}


def test_rare_behaviors_are_cut_for_those_who_train(tmp_path):
    pytest.importorskip("duckdb")
    make = import_module("few_shot_log").make_few_shot_log
    log = make("simulator", None, tmp_path, examples=3, others=0.5, users="40")
    tail = import_module("few_shot_log").tail_of(log.whole)
    counts = import_module("few_shot_log").counts_in
    before, after = (counts(store, tuple(tail)) for store in (log.whole, log.few))
    assert len(tail) > 3
    assert (after == before.clip(max=3)).all()
    assert before.max() > 3
    anchors = tuple(set(log.whole.vocabulary.behaviors[1:]) - set(tail))
    assert (counts(log.few, anchors) == counts(log.whole, anchors)).all()
    # Who validates and tests keeps everything; the others are other people.
    assert log.whole.num_events - log.few.num_events == (before - after).sum()
    assert len(log.others.users()) == len(log.whole.users()) == 20
    assert not set(log.others.users()) & set(log.whole.users())


def test_the_best_of_a_curve_is_read_off_between_its_points():
    best_at = import_module("reproduce_distillation").best_at
    curve = [{"hr_at_1": h, "tail": t} for h, t in ((0.4, 0.0), (0.3, 0.2), (0.1, 0.1))]
    assert best_at(curve, "tail", 0.4) == 0
    assert best_at(curve, "tail", 0.35) == pytest.approx(0.1)
    assert best_at(curve, "tail", 0.05) == pytest.approx(0.2)
    assert best_at(curve, "tail", 0.41) != best_at(curve, "tail", 0.41)  # NaN


def test_the_control_of_an_adaptation_has_the_same_vocabulary_and_recipe(make_store, tmp_path):
    pytest.importorskip("torch")
    from edgebehave_train.adaptation.adaptation import AdaptConfig, adapt
    from edgebehave_train.training.pretraining import pretrain
    from edgebehave_train.training.recipes import tiny

    known, new = (
        make_store([[(3600 * i, f"{names[i % len(names)]}", None) for i in range(60)] for _ in range(4)])
        for names in ("abc", "abcd")
    )
    recipe = tiny(width=8, num_layers=1, num_heads=1, window=8, epochs=1, batch_events=120, row_events=60)
    checkpoint = pretrain(known, recipe, tmp_path / "known")
    config = AdaptConfig(examples=3, epochs=1)
    control = import_module("reproduce_adaptation").from_scratch(new, checkpoint, tmp_path / "control", config)
    assert control.vocabulary == adapt(new, checkpoint, tmp_path / "adapted", config).vocabulary
    assert control.config.width == checkpoint.config.width
    assert list(control.vocabulary.behaviors[checkpoint.vocabulary.num_behaviors :]) == ["d"]
