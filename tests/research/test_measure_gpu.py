"""A dry run of the measurements on a GPU: every piece runs on the CPU with small shapes."""

import sys

import pytest

import measure_gpu


def table(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["measure_gpu.py", *map(str, arguments)])
    measure_gpu.main()
    return capsys.readouterr().out


def test_every_piece_runs_and_has_rows_in_the_table(monkeypatch, capsys, tmp_path):
    dry = ("--device", "cpu", "--tiny", "--steps", 1, "--out", tmp_path)
    before = table(monkeypatch, capsys, "--out", tmp_path)
    assert before.count("not measured") == len(measure_gpu.PIECES)
    text = table(monkeypatch, capsys, *measure_gpu.PIECES, *dry)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows[1:]} == set(measure_gpu.PIECES)
    assert "| attention | varlen | needs CUDA |" in text
    assert "| attention | blockwise, float32 | error " in text
    for row in ("speed | paper, eager", "wide | 12 layers x 768", "dro | dro", "memory | 128 events"):
        assert f"| {row} | events_per_s " in text
    assert "minutes_of_50_million" in text
    assert "| onnx | 8 events a call | provider CPUExecutionProvider, events_per_s " in text


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(measure_gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device here: nothing is measured"):
        table(monkeypatch, capsys, "speed", "--out", tmp_path)
    assert not list(tmp_path.iterdir())
