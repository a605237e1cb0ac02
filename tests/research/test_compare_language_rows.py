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


def test_the_hits_of_seeds_are_averaged_sample_by_sample(out):
    asked = dict(np.load(out / "asked.npz"))
    assert compare.rows_of(out) == ["llm", "popularity"]
    assert compare.hits_of(out, "llm", asked, adjusted=False)["balanced"].tolist() == [1, 0.5, 1, 0.5]
    assert compare.hits_of(out, "popularity", asked, adjusted=True)["users"].tolist() == [0, 1, 0, 1]
    overall, tail, users = compare.means(compare.hits_of(out, "llm", asked, adjusted=False), asked)
    assert (overall[0], tail[0], users[0]) == (0.75, 0.5, 0.75)


def test_the_table_subtracts_the_reference(out, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", str(out), "--reference", "popularity"])
    compare.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| llm | 0.750 (+0.250 [+0.250, +0.250]) | 0.500 (+0.500" in lines[2]
    assert lines[3].startswith("| popularity | 0.500 (+0.000")
    assert lines[5].startswith("| *adjusted:* popularity | 0.500 (+0.000")
    monkeypatch.setattr("sys.argv", ["x", str(out), "--reference", "nothing"])
    with pytest.raises(SystemExit, match="has no row nothing; it has llm, popularity"):
        compare.main()
