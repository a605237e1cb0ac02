"""The prior covers every real log, and its page says what was measured."""

import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from edgebehave_train.simulator.traits import TRAITS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("compare_worlds", ROOT / "research/compare_worlds.py")
    module = module_from_spec(spec)
    sys.modules["compare_worlds"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare_worlds"]


@pytest.fixture(scope="module")
def of_worlds(script):
    logs = script.worlds()
    return {length: script.traits_table(logs, length) for length in script.LENGTHS}


@pytest.fixture(scope="module")
def measured(script):
    return json.loads(script.MEASURED.read_text(encoding="utf-8"))


def test_the_worlds_have_the_measured_percentiles(script, of_worlds, measured):
    assert measured["seed"] == script.SEED
    assert measured["num_worlds"] == script.NUM_WORLDS
    for length, table in of_worlds.items():
        for trait, found in script.percentiles(table).items():
            assert found == pytest.approx(measured["worlds"][str(length)][trait], rel=1e-3, abs=2e-4), trait


def test_the_median_user_of_every_measured_log_lies_inside(script, measured):
    assert measured["logs"].keys() == script.REAL_LOGS.keys()
    for log, of_lengths in measured["logs"].items():
        assert of_lengths.keys() == {str(length) for length in script.REAL_LOGS[log].lengths}
        for length, of_log in of_lengths.items():
            assert len(of_log["traits"]) >= len(TRAITS) - 1
            for trait, of_trait in of_log["traits"].items():
                low, _, high = measured["worlds"][length][trait]
                assert low <= of_trait["median"] <= high, f"{trait} of {log}, {length} events"


def test_nine_of_ten_users_lie_inside_on_average_over_the_traits(measured):
    for log, of_lengths in measured["logs"].items():
        if log != "web":  # five users, two of whom load one page again and again
            for of_log in of_lengths.values():
                assert np.mean([of_trait["inside"] for of_trait in of_log["traits"].values()]) >= 0.9


def test_the_real_logs_are_as_measured(script, measured):
    if "EDGEBEHAVE_DATA" not in os.environ:
        pytest.skip("set EDGEBEHAVE_DATA to the folder of the research logs")
    for log, tables in script.users_tables(Path(os.environ["EDGEBEHAVE_DATA"])).items():
        for length, table in tables.items():
            of_log = measured["logs"][log][str(length)]
            assert len(table) == of_log["num_users"]
            assert script.coverage(table, measured["worlds"][str(length)]) == of_log["traits"]


def test_the_page_holds_the_tables(script, measured):
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.with_tables(page, measured) == page
    with pytest.raises(ValueError, match="no place for the table 'coverage'"):
        script.with_tables("# Random worlds", measured)


def test_coverage_worked_by_hand(script):
    low_mid_high = {trait: [1.0, 2.0, 3.0] for trait in TRAITS}
    table = np.full((4, len(TRAITS)), np.nan)
    table[:, 0] = [0.5, 1.0, 2.5, 9.0]
    assert script.coverage(table, low_mid_high) == {TRAITS[0]: {"median": 1.75, "inside": 0.5}}


def test_users_of_a_log(script, tmp_path):
    rows = ["u,10,chat,home,60", "u,0,mail,,60", "u,20,chat,home,60", "v,5,mail,work,0"]
    (tmp_path / "log.csv").write_text("\n".join(["who,moment,what,place,zone", *rows]), encoding="utf-8")
    columns = {"user": "who", "behavior": "what", "location": "place", "utc_offset_min": "zone"}
    log = script.RealLog(file="log.csv", time="1300000000 + moment::INT", **columns)
    switches = script.RealLog(**vars(log) | {"collapses_repeats": True})
    users = sorted(script.users_of(log, tmp_path), key=lambda user: len(user[0]))
    behavior, location, local_s = users[1]
    assert [len(user[0]) for user in users] == [1, 3]
    assert behavior[0] != behavior[1] == behavior[2]
    assert location[0] == -1 != location[1] == location[2]
    assert (local_s - 1300000000).tolist() == [3600, 3610, 3620]
    assert sorted(len(user[0]) for user in script.users_of(switches, tmp_path)) == [1, 2]


def test_the_figure_shows_worlds_and_logs(script, of_worlds, tmp_path):
    users = {"long log": {256: of_worlds[256][:20]}, "short log": {20: of_worlds[20][:20]}}
    script.draw(of_worlds, users, tmp_path / "figure.png")
    assert 20_000 < (tmp_path / "figure.png").stat().st_size < 200_000
    assert script.FIGURE.stat().st_size < 200_000
