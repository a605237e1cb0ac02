"""Files, manifests and vocabularies made to harm: refused before they are read, or as soon as they are."""

import json
import os
import shutil
from pathlib import Path

import pytest
from bundle_changes import edit_manifest

from edgebehave import BundleError, Predictor
from edgebehave.bundles.manifest import MAX_BUNDLE_BYTES, MAX_PINNED_BYTES

pytest.importorskip("onnxruntime")
mutate_graphs = pytest.importorskip("mutate_graphs")

TINY = Path(__file__).parents[1] / "tiny_bundle"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A bundle of one's own to break."""
    return Path(shutil.copytree(TINY / "int8", tmp_path / "bundle"))


def test_carried_files_have_a_largest_size_together(folder):
    for number in range(2):
        size = {"sha256": "", "bytes": MAX_BUNDLE_BYTES // 2 + number}
        edit_manifest(folder, lambda m, size=size, number=number: m["files"].update({f"card{number}.md": size}))
    with pytest.raises(BundleError, match="of files that are not read, more than"):
        Predictor.load(folder)


def test_a_kind_of_bundle_that_is_no_word(folder):
    edit_manifest(folder, lambda m: m.update(kind="\x1b[2J\n"))
    with pytest.raises(BundleError) as refused:
        Predictor.load(folder)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "no/such/folder"])
def test_a_path_that_no_bundle_has(name):
    with pytest.raises(BundleError, match="is not a bundle"):
        Predictor.load(name)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["manifest.json", "vocabulary.json", "predict.onnx"])
def test_what_is_no_regular_file_is_refused(folder, kind, name, tmp_path):
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes in folders")
    file = folder / name
    file.rename(tmp_path / "elsewhere")
    if kind == "link":
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(BundleError, match="is not a regular file"):
        Predictor.load(folder)


def test_sizes_are_enforced_before_a_byte_is_read(folder):
    with (folder / "predict.onnx").open("ab") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(BundleError, match="is damaged: 1099511627776 bytes, expected"):
        Predictor.load(folder)
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="is damaged: 1099511627776 bytes"):
        Predictor.load(folder)


@pytest.mark.parametrize("size", [-1, 2.0, True, None, MAX_PINNED_BYTES + 1, 10**30])
def test_a_size_that_no_file_of_a_bundle_has(folder, size):
    edit_manifest(folder, lambda m: m["files"]["predict.onnx"].update(bytes=size))
    with pytest.raises(BundleError, match="no size up to"):
        Predictor.load(folder)


def test_a_bundle_has_a_largest_size(folder):
    for name in ("predict.onnx", "observe.onnx"):
        edit_manifest(folder, lambda m, name=name: m["files"][name].update(bytes=MAX_BUNDLE_BYTES))
    with pytest.raises(BundleError, match="more than"):
        Predictor.load(folder)


def test_a_larger_bundle_opens_by_its_digest(folder, monkeypatch):
    monkeypatch.setattr("edgebehave.bundles.bundle.MAX_BUNDLE_BYTES", 1000)
    monkeypatch.setattr("edgebehave.bundles.manifest.MAX_BUNDLE_BYTES", 1000)
    with pytest.raises(BundleError, match="opens with the digest"):
        Predictor.load(folder)
    digest = json.loads((folder / "manifest.json").read_text())["digest"]
    assert Predictor.load(folder, digest=digest).model


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b.onnx", "C:x.onnx", "NUL", "observe.onnx\0", "", "x" * 200]
)
def test_names_of_other_files(folder, name):
    edit_manifest(folder, lambda m: m["files"].update({name: {"sha256": "", "bytes": 1}}))
    with pytest.raises(BundleError, match="not a file name"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        *(
            ("model", name, value)
            for name in ("width", "num_layers", "window", "num_spare")
            for value in (-1, 10**9, 1.5)
        ),
        *(("model", name, 3) for name in ("width", "num_layers", "num_heads", "head_width", "num_spare")),
        *(("model", name, 5) for name in ("window", "receptive_field")),
        *(("model", name, 10**18) for name in ("history_events", "habit_events", "num_events")),
        *((None, "format_version", value) for value in ("2", 2.0, True, -1, 10**400)),
        *((None, "min_runtime", value) for value in (1, "", "1.x", "-1", "1" * 5000, "٣.1", None)),
        *(
            (None, "class_priors", value)
            for value in ([], None, "ab", [0.5] * 29, [True] * 29, [[1]] * 29, [10**400] * 29)
        ),
        *(("tail", "log_ratio", value) for value in ([1e9] * 29, ["0"] * 29, [], {})),
        *(("conformal", "threshold", value) for value in ([2.0], [0.5] * 3, None)),
        (None, "target", ["native"]),
        (None, "target", "web"),
        (None, "model", None),
    ],
)
def test_a_number_outside_its_bounds(folder, part, field, value):
    edit_manifest(folder, lambda m: (m[part] if part else m).update({field: value}))
    with pytest.raises(BundleError):
        Predictor.load(folder)


@pytest.mark.parametrize(
    "replace",
    [
        (b'"width": 16', b'"width": 16, "width": 32'),
        (b'"width": 16', b'"width": NaN'),
        (b'"width": 16', b'"width": ' + b"9" * 5000),
        (b'"width": 16', b'"width": ' + b"[" * 100_000 + b"]" * 100_000),
        (b'"width": 16', b'"width": "\xff"'),
    ],
)
def test_json_with_one_reading(folder, replace):
    file = folder / "manifest.json"
    content = file.read_bytes().replace(*replace)
    assert content != file.read_bytes()
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Predictor.load(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"events": ["<unknown>", 1]}',
        b'{"events": [["<unknown>"]], "locations": [], "behaviors": [], "event_to_behavior": []}',
        b'{"events": null, "locations": [], "behaviors": [], "event_to_behavior": []}',
        b"null",
    ],
)
def test_a_vocabulary_that_is_none(folder, content):
    mutate_graphs.write_bundle(folder, {"vocabulary.json": content})
    with pytest.raises(BundleError, match=r"vocabulary\.json is not a vocabulary"):
        Predictor.load(folder)


def test_a_digest_pins_a_bundle(folder):
    digest = json.loads((folder / "manifest.json").read_text())["digest"]
    Predictor.load(folder, digest=digest)
    Predictor.load(folder, digest=digest.upper())
    edit_manifest(folder, lambda m: m.update(quality={"hr_at_1": 1}))
    Predictor.load(folder)
    with pytest.raises(BundleError, match="it is not the bundle that was asked for"):
        Predictor.load(folder, digest=digest)
