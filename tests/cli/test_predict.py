"""`edgebehave predict -o` writes for all users what `edgebehave predict --user` prints for each."""

import csv
import json
from pathlib import Path

import pytest
from command_line import edgebehave
from pyarrow import parquet

BUNDLE = Path(__file__).parents[1] / "edgebehave" / "tiny_bundle" / "int8"
AT = ("--at", "2026-05-01T08:00+02:00")


def rows_of(file):
    return [tuple(row.values()) for row in parquet.read_table(file).to_pylist()]


def test_the_file_holds_what_is_printed_for_each_user(tiny_store, tmp_path):
    out = tmp_path / "scores.parquet"
    arguments = ("predict", BUNDLE, "--store", tiny_store.path, "--k", 3, *AT)
    _, err = edgebehave(*arguments, "-o", out, "--workers", 1)
    assert err.strip() == f"120 predictions for 40 users -> {out}"
    rows = rows_of(out)
    assert [row[0] for row in rows[::3]] == tiny_store.users()
    for user in ("user_0", "user_7", "user_39"):
        printed = json.loads(edgebehave(*arguments, "--user", user, "--json")[0])
        expected = [(user, rank, p["behavior"], p["probability"]) for rank, p in enumerate(printed, 1)]
        assert [row for row in rows if row[0] == user] == expected


def test_users_of_a_file_and_json(tiny_store, tmp_path):
    names = tmp_path / "users.txt"
    names.write_bytes(b"\xef\xbb\xbfuser_8\n\nuser_3\nuser_8")
    out = tmp_path / "scores.csv"
    arguments = ("predict", BUNDLE, "--store", tiny_store.path, "-o", out, "--users", names, "-k", 1, "--json")
    assert json.loads(edgebehave(*arguments)[0]) == {"out": str(out), "num_users": 2, "num_rows": 2}
    with out.open(encoding="utf-8", newline="") as file:
        assert [(row["user"], row["rank"]) for row in csv.DictReader(file)] == [("user_8", "1"), ("user_3", "1")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --user NAME to print its predictions, or -o scores.parquet for those of all users"),
        (("--user", "user_1", "-o", "x.csv"), "--user prints the predictions of one user: leave out --out"),
        (("--user", "user_1", "--workers", "2"), "--user prints the predictions of one user: leave out --out"),
        (("-o", "scores.json"), "predictions are written as .parquet or .csv, got scores.json"),
        (("-o", "x.csv", "--users", "{latin}"), "is not UTF-8; --users takes a text file with a name per line"),
        (("-o", "x.csv", "--users", "{names}"), "has no user 'nobody'; it has for example 'user_0'"),
        (("-o", "x.csv", "--users", "{empty}"), "no user was named; give a name per line"),
    ],
)
def test_a_mistake_is_one_line(tiny_store, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    files = {"latin": "zoë".encode("latin-1"), "names": b"nobody\n", "empty": b"\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    filled = [argument.format(**{name: tmp_path / name for name in files}) for argument in arguments]
    _, err = edgebehave("predict", BUNDLE, "--store", tiny_store.path, *filled, code=2)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "x.csv").exists()
