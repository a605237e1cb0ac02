"""Files and folders that commands write: whole or not at all, and never over anything else."""

import hashlib
import shutil
import subprocess
import sys

import pytest
import torch
from filelock import FileLock

from edgebehave_train.files import (
    file_digest,
    names_in,
    one_writer,
    read_json,
    read_tensors,
    replaced_folder,
    require_writable,
    write_json,
    write_tensors,
    write_text,
)


def no_note(folder):
    return names_in(folder) - {"note.txt"}


@pytest.fixture
def note(tmp_path):
    folder = tmp_path / "note"
    folder.mkdir()
    write_text(folder / "note.txt", "old")
    return folder


def test_tensors_and_their_metadata_come_back(tmp_path):
    tensors = {"a": torch.arange(6).view(2, 3).T, "b": torch.tensor(2.5), "c": torch.zeros(0)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"position": '{"step": 3}'})
    back, metadata = read_tensors(tmp_path / "x.safetensors")
    assert metadata == {"position": '{"step": 3}'}
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor)
        assert back[name].dtype == tensor.dtype


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": torch.ones(3)})
    before = path.read_bytes()

    def half_a_file(tensors, partial, metadata):
        partial.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", half_a_file)
    with pytest.raises(OSError, match="no space left"):
        write_tensors(path, {"a": torch.zeros(3)})
    assert path.read_bytes() == before


def test_content_that_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"weights": torch.zeros(1)})
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert not list(tmp_path.glob("*.partial"))


def test_json_names_the_damaged_file(tmp_path):
    write_text(tmp_path / "a.json", "[1, 2]")
    assert read_json(tmp_path / "a.json", list) == [1, 2]
    with pytest.raises(ValueError, match=r"a\.json is damaged: it holds no object"):
        read_json(tmp_path / "a.json")
    write_text(tmp_path / "a.json", "{")
    with pytest.raises(ValueError, match=r"a\.json is damaged: "):
        read_json(tmp_path / "a.json")


def test_the_digest_of_a_file(tmp_path):
    write_text(tmp_path / "a", "e\u0301")
    assert file_digest(tmp_path / "a") == hashlib.sha256("e\u0301".encode()).hexdigest()


def replace(out, work=lambda new: None, **options):
    with replaced_folder(out, "a note", no_note, **options) as new:
        work(new)


def test_a_folder_to_write_into_is_new_empty_or_accepted(tmp_path, note):
    (tmp_path / "empty").mkdir()
    for free in (tmp_path / "new" / "deep", tmp_path / "empty"):
        require_writable(free, "a note")
    require_writable(note, "a note", no_note)
    with pytest.raises(ValueError, match="already holds a note; use --overwrite, or another folder"):
        require_writable(note, "a note", no_note, instead="use --overwrite")
    with pytest.raises(ValueError, match=r"holds 'note\.txt', which is not part of a note; name another folder"):
        require_writable(note, "a note")
    (note / "other.txt").touch()
    with pytest.raises(ValueError, match=r"holds 'other\.txt', which is not part of a note"):
        require_writable(note, "a note", no_note)
    with pytest.raises(ValueError, match="is a file; name a folder for a note"):
        require_writable(note / "note.txt", "a note", no_note)


def test_a_folder_is_replaced_whole(tmp_path, note):
    with replaced_folder(note, "a note", no_note) as new:
        (new.parent / "scratch").touch()
        write_text(new / "note.txt", "new")
        assert (note / "note.txt").read_text() == "old"
    assert (note / "note.txt").read_text() == "new"
    assert list(tmp_path.iterdir()) == [note]


def test_an_error_leaves_the_folder_that_was_there(tmp_path, note):
    def interrupted(new):
        write_text(new / "note.txt", "new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(note, interrupted)
    with pytest.raises(ValueError, match="already holds a note"):
        replace(note, instead="use --overwrite")
    assert (note / "note.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [note]


def test_what_appears_meanwhile_is_not_replaced(tmp_path):
    out = tmp_path / "out"

    def somebody_else_writes(new):
        out.mkdir()
        (out / "other.txt").touch()

    with pytest.raises(ValueError, match="not part of a note"):
        replace(out, somebody_else_writes)
    assert (out / "other.txt").exists()


def test_remains_of_a_killed_run_are_cleared_and_its_victim_put_back(tmp_path, note):
    work = tmp_path / ".note.partial"
    work.mkdir()
    note.rename(work / "old")
    (work / "new").mkdir()
    (work / "new" / "half.txt").touch()
    (work / "lock").touch()
    with pytest.raises(ValueError, match="already holds a note"):
        replace(note, instead="use --overwrite")
    assert (note / "note.txt").read_text() == "old"
    assert list(tmp_path.iterdir()) == [note]


def test_the_lock_is_released_after_its_folder_is_gone(tmp_path, monkeypatch):
    release, is_there = FileLock.release, []
    monkeypatch.setattr(
        FileLock, "release", lambda *a, **k: is_there.append((tmp_path / ".out.partial").exists()) or release(*a, **k)
    )
    replace(tmp_path / "out")
    assert is_there[0] is False


@pytest.mark.parametrize("ends", ["before", "after"])
def test_an_end_of_another_process_while_this_one_locks_is_an_error_of_one_line(tmp_path, monkeypatch, ends):
    """The other process deletes the folder before the file is opened, or between opening and locking it."""
    acquire, work = FileLock.acquire, tmp_path / ".out.partial"

    def too_late(lock, **options):
        if ends == "before":
            shutil.rmtree(work)
        acquire(lock, **options)
        shutil.rmtree(work)

    monkeypatch.setattr(FileLock, "acquire", too_late)
    with pytest.raises(ValueError, match=r"another process is writing .*out; wait for its end"):
        replace(tmp_path / "out")
    assert not list(tmp_path.iterdir())


_HOLDER = """
import sys
from pathlib import Path
from edgebehave_train.files import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_has_one_writer_until_its_process_ends(tmp_path):
    out = tmp_path / "run"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        for patience_s in (0, 0.2):
            told = pytest.raises(
                ValueError, match=r"another process is writing .*run; wait for its end, or name another"
            )
            with told, one_writer(out, patience_s):
                raise AssertionError
    finally:
        holder.kill()
        holder.communicate()
    for _ in range(2):
        with one_writer(out):
            assert not out.exists()  # the lock lies beside it
    assert not list(tmp_path.iterdir())
