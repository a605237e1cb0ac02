"""Paired differences between rows of language models, on probabilities made by hand."""

from importlib import import_module

import numpy as np
import pytest

compare = import_module("compare_language_rows")


@pytest.fixture
def out(tmp_path):
    """Behaviors 1 (frequent) and 2 (tail), four balanced samples of two users; two seeds of `llm`."""
    behavior = np.array([1, 2, 1, 2])
    asked = {}
    for protocol in ("balanced", "users"):
        asked |= {f"{protocol}_behavior": behavior, f"{protocol}_user": np.array([0, 0, 1, 1])}
    np.savez(tmp_path / "asked.npz", shares=np.array([0.0, 0.995, 0.005]), **asked)
    frequent = np.tile([0.0, 0.9, 0.1], (4, 1))
    for name, probs in (("popularity", frequent), ("llm-seed0", frequent), ("llm-seed1", np.eye(3)[behavior])):
        np.savez(tmp_path / f"{name}.npz", balanced=probs, users=probs)
    return tmp_path


def test_a_row_has_a_file_for_each_seed(out):
    asked = dict(np.load(out / "asked.npz"))
    assert compare.rows_of(out) == ["llm", "popularity"]
    files = compare.files_of(out, "llm")
    assert [*files] == [0, 1]
    assert [*compare.files_of(out, "popularity")] == [None]
    assert [one[0] for one in compare.accuracies(files[0], asked, adjusted=False)] == [0.5, 0.0, 0.5]
    assert [one[0] for one in compare.accuracies(files[0], asked, adjusted=True)] == [0.5, 1.0, 0.5]
    assert [one[0] for one in compare.accuracies(files[1], asked, adjusted=False)] == [1.0, 1.0, 1.0]


def test_an_interval_holds_what_seeds_and_users_change():
    same, gain = np.full((2, 201), 0.5), np.array([[0.1], [0.3]])
    assert compare.shown(same + gain, same) == "0.700 (+0.200 [+0.100, +0.300]; +0.100, +0.300)"
    assert compare.shown(gain * np.ones(201)) == "0.200 [0.100, 0.300]; 0.100, 0.300"
    assert compare.shown(same[:1] + 0.1, same[:1]) == "0.600 (+0.100 [+0.100, +0.100])"


def test_the_table_subtracts_the_reference(out, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", str(out), "--reference", "popularity"])
    compare.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| llm | 2 | 0.750 (+0.250 [+0.000, +0.500]; +0.000, +0.500) | 0.500 (+0.500" in lines[2]
    assert lines[3].startswith("| popularity | 1 | 0.500 (+0.000")
    assert lines[5].startswith("| *adjusted:* popularity | 1 | 0.500 (+0.000")
    np.savez(out / "late-seed7.npz", **np.load(out / "llm-seed0.npz"))
    monkeypatch.setattr("sys.argv", ["x", str(out), "--reference", "llm"])
    compare.main()
    assert "late" not in capsys.readouterr().out, "no seed in common: nothing is paired"
    monkeypatch.setattr("sys.argv", ["x", str(out)])
    compare.main()
    assert "| late | 1 | 0.500 [0.500, 0.500] | 0.000 [0.000, 0.000]" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["x", str(out), "--reference", "nothing"])
    with pytest.raises(SystemExit, match="has no row nothing; it has late, llm, popularity"):
        compare.main()
