"""The registry of readers: the built-in ones, and one of another package by its entry point."""

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from edgebehave_train import extensions
from edgebehave_train.extensions import LOG_READER_GROUP
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.exports import registry
from edgebehave_train.logs.exports.reader import Export, ExportEvent, LogReader
from edgebehave_train.logs.ingest import IngestConfig, IngestError, ingest

PROJECT = Path(__file__).parents[4] / "pyproject.toml"
DIARY = LogReader(
    name="diary",
    title="a diary",
    recognizes=lambda file: file.head_text.startswith("DIARY"),
    read=lambda file: Export(events=[ExportEvent(1_772_438_400_000_000, "wrote")], zone="utc", used="entries"),
)
NOT_A_READER = 7


@pytest.fixture
def entries(monkeypatch):
    """Entry points of the group, to be filled by a test."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(extensions, "entry_points", lambda group: found if group == LOG_READER_GROUP else [])
    registry.readers.cache_clear()
    yield found
    registry.readers.cache_clear()


def test_the_built_in_readers_are_found_without_metadata(entries):
    readers = registry.readers()
    assert list(readers) == list(registry.BUILT_IN)
    assert all(reader.name == name for name, reader in readers.items())


def test_the_project_registers_each_of_them():
    if not PROJECT.is_file():
        pytest.skip("pyproject.toml is not beside an installed package")
    points = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"][LOG_READER_GROUP]
    assert points == {name: f"edgebehave_train.logs.exports.{where}" for name, where in registry.BUILT_IN.items()}


def test_another_package_adds_a_reader(entries, tmp_path):
    entries.append(_Loaded("diary", DIARY))
    (tmp_path / "diary.txt").write_text("DIARY\n", encoding="utf-8")
    ingest(IngestConfig(log=tmp_path / "diary.txt", out=tmp_path / "out"))
    assert [event.event for event in EventStore.open(tmp_path / "out").named_events(0)] == ["wrote"]


def test_the_reader_of_the_guide_reads_its_file(entries, tmp_path):
    page = PROJECT.parent / "docs" / "logs.md"
    if not page.is_file():
        pytest.skip("the guide is not beside an installed package")
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S) if "READER" in block
    )
    guide: dict[str, object] = {}
    exec(code, guide)
    entries.append(_Loaded("my-app", guide["READER"]))
    rows = "Track,Started At,Device\nBolero,1772438400.5,car\n,1772438460,car\nAria,1772438520,car\n"
    (tmp_path / "export.csv").write_text(rows, encoding="utf-8")
    lines: list[str] = []
    ingest(IngestConfig(log=tmp_path / "export.csv", out=tmp_path / "out"), lines.append)
    assert [event.event for event in EventStore.open(tmp_path / "out").named_events(0)] == ["Bolero", "Aria"]
    assert any("an export of My App" in line for line in lines)
    assert any("without a track" in line for line in lines)


def test_a_reader_that_is_none_is_named(entries, tmp_path):
    entries.append(_Loaded("bad", NOT_A_READER))
    (tmp_path / "log.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(IngestError, match="the log reader 'bad' is no LogReader, got int"):
        ingest(IngestConfig(log=tmp_path / "log.csv", out=tmp_path / "out"))


def test_a_reader_that_cannot_be_imported_is_named(entries, tmp_path):
    entries.append(_Loaded("bad", None))
    (tmp_path / "log.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"'bad' of edgebehave\.log_readers cannot be loaded from a_package:READER: "):
        ingest(IngestConfig(log=tmp_path / "log.csv", out=tmp_path / "out"))


class _Loaded:
    """An entry point whose package is this test; without content, it cannot be imported."""

    value, dist = "a_package:READER", None

    def __init__(self, name, content):
        self.name, self.content = name, content

    def load(self):
        if self.content is None:
            raise ImportError("no module named a_package")
        return self.content
