"""metrics.json: measurements are kept by name, readings of the test part are counted."""

from edgebehave_train.files import read_json
from edgebehave_train.metrics.metrics_file import record_measurement


def test_only_readings_of_the_test_part_are_counted(tiny_store, tmp_path):
    assert record_measurement(tmp_path, tiny_store, "validation") == 0
    assert record_measurement(tmp_path, tiny_store, "test") == 1
    assert record_measurement(tmp_path, tiny_store, "test") == 2
    assert record_measurement(tmp_path, tiny_store, "validation") == 2
    reads = read_json(tmp_path / "metrics.json")["test_reads"]
    assert [read["data_fingerprint"] for read in reads] == [tiny_store.fingerprint] * 2


def test_a_measurement_replaces_the_one_of_its_name_and_keeps_the_others(tiny_store, tmp_path):
    record_measurement(tmp_path, tiny_store, "validation", {"validation": {"model": 0.1}, "other": 1})
    record_measurement(tmp_path, tiny_store, "validation", {"validation": {"plain": 0.2}})
    assert read_json(tmp_path / "metrics.json") == {"test_reads": [], "validation": {"plain": 0.2}, "other": 1}
