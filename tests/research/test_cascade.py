"""The cascade of an edge model and a language model, on probabilities made by hand."""

import json
from importlib import import_module

import numpy as np
import pytest

cascade = import_module("reproduce_cascade")


def test_the_language_model_answers_where_it_is_asked():
    edge = np.array([[0, 0.6, 0.4], [0, 0.9, 0.1]], np.float32)
    llm = np.array([[0, 0.1, 0.9], [0, 0.1, 0.9]], np.float32)
    assert cascade.answers(edge, llm, np.array([True, False]), "its answer").tolist() == [2, 1]
    assert cascade.answers(edge, llm, np.array([True, True]), "product").tolist() == [2, 1 + (0.9 * 0.1 < 0.1 * 0.9)]
    assert cascade.answers(edge, llm, np.array([False, False]), "its answer").tolist() == [1, 1]


def test_a_mean_over_groups_weighs_them_alike_and_resamples_users():
    hit, group = np.array([True, True, True, False]), np.array([5, 5, 5, 9])
    values = cascade.recalls(hit, group, np.array([0, 0, 1, 1]))
    assert values[0] == 0.5
    assert len(values) == 1 + cascade.NUM_RESAMPLES
    assert set(values[1:]) <= {0.5, 1.0}  # user 0 alone has no sample of 9


def test_the_table_asks_more_of_the_samples_that_are_harder(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    truth, asked = rng.integers(1, 4, 40), {}
    edge, llm = rng.dirichlet([0.5] * 4, 40), np.eye(4)[truth]
    for protocol in ("users", "balanced"):
        asked |= {f"{protocol}_behavior": truth, f"{protocol}_user": np.arange(40) // 4}
    np.savez(tmp_path / "asked.npz", shares=np.full(4, 0.25), **asked)
    for name, probs in (("edge", edge), ("llm", llm)):
        np.savez(tmp_path / f"{name}.npz", users=probs, balanced=probs)
        (tmp_path / f"{name}.json").write_text(json.dumps({"samples": 40, "data": "0" * 64, "commit": "c"}))
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path), "--edge", "edge", "--llm", "llm"])
    cascade.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "its answer" in line]
    assert [line.split("|")[1].strip() for line in lines] == ["5%", "10%", "20%", "50%", "100%"]
    right = [float(line.split("|")[4].split()[0]) for line in lines]
    assert right == sorted(right)
    assert right[-1] == pytest.approx(1)
