"""Numbers in sentences and in tables."""

import math

from edgebehave_train.wording import counted, number_or_blank, read_so_often, without_blank_columns


def test_one_is_singular():
    assert [counted(n, "user") for n in (0, 1, 1200)] == ["0 users", "1 user", "1,200 users"]
    assert [read_so_often(n) for n in (1, 2)] == ["read once", "read 2 times"]


def test_what_was_not_measured_is_no_column():
    assert number_or_blank(0.5) == "0.500"
    rows = [["a", "0.1", number_or_blank(math.nan)], ["b", "", ""]]
    assert without_blank_columns(["name", "HR@1", "tail"], rows) == (["name", "HR@1"], [["a", "0.1"], ["b", ""]])
