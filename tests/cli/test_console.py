"""Tables fit the terminal: columns go before cells are cut."""

import re

import pytest

from edgebehave_cli.console import print_table

COLUMNS = ["predictor", "HR@1", "HR@3", "macro recall"]
ROWS = [["most recently used", "0.254", "0.607", "0.087"], ["habits", "0.451", "0.770", "0.077"]]


@pytest.fixture
def terminal(monkeypatch, capsys):
    def show(width: int) -> str:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        print_table("title", COLUMNS, ROWS, drop_first=["HR@3", "macro recall"])
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # without colors

    return show


def test_a_wide_terminal_shows_everything(terminal):
    shown = terminal(100)
    assert all(cell in shown for cell in [*COLUMNS, *ROWS[0], *ROWS[1]])
    assert "also shows" not in shown


def test_a_narrow_terminal_drops_columns_and_says_which(terminal):
    shown = terminal(48)
    assert "most recently used" in shown
    assert "0.087" in shown
    assert "0.607" not in shown
    assert "also shows: HR@3" in shown
    assert max(len(line) for line in shown.splitlines() if "also shows" not in line) <= 48


def test_a_pipe_gets_markdown(capsys):
    print_table("title", COLUMNS, ROWS, drop_first=["HR@3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split("|")[1].strip() == "predictor"
    assert set(lines[3]) == set("|-: ")
    assert len({len(line) for line in lines[2:6]}) == 1
