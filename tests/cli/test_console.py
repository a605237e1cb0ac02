"""Tables fit the terminal: columns go before cells are cut."""

import io
import re

import pytest

from edgebehave_cli.console import note, print_table, survive_any_encoding

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


def test_wide_characters_count_twice(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "36")
    print_table("title", ["name", "HR@1", "HR@3"], [["\u97f3\u697d" * 5, "0.254", "0.607"]], drop_first=["HR@3"])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "\u97f3\u697d" * 5 in shown  # 20 columns wide, whole
    assert "also shows: HR@3" in shown


def test_names_are_shown_as_they_are(terminal, monkeypatch, capsys):
    names = ["[/home] shell", "[bold]x", ":smile:", "\x1b[31mred", "two\nlines", "caf\u00e9 \U0001f4f1", "\ud800"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_table("[/title]", ["[/name]"], [[name] for name in names])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for text in (
        "[/title]",
        "[/name]",
        "[/home] shell",
        "[bold]x",
        ":smile:",
        r"\x1b[31mred",
        r"two\nlines",
        r"\ud800",
    ):
        assert text in shown
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    print_table("t", ["name"], [[name] for name in names])
    note("\x1b]0;title\x07 done")
    piped = capsys.readouterr()
    assert "\x1b" not in piped.out + piped.err
    assert len(piped.out.splitlines()) == 5 + len(names)


def test_output_survives_a_console_that_lacks_characters(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", stream)
    survive_any_encoding()
    print_table("t", ["name"], [["caf\u00e9 \U0001f4f1"]])
    stream.seek(0)
    assert "caf\u00e9 \\U0001f4f1" in stream.read()


def test_a_pipe_gets_markdown(capsys):
    print_table("title", COLUMNS, ROWS, drop_first=["HR@3"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split("|")[1].strip() == "predictor"
    assert set(lines[3]) == set("|-: ")
    assert len({len(line) for line in lines[2:6]}) == 1


def test_a_bar_in_a_name_ends_no_cell_of_markdown(capsys):
    print_table("title", ["name"], [["a|b"]])
    assert r"| a\|b |" in capsys.readouterr().out
