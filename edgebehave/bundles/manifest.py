"""The manifest of a bundle: its checksum, its versions, and the sizes and hashes of the files that it lists.

manifest.json holds the sizes and hashes of the other files, and a checksum of itself in the field "digest": the
SHA-256 of its bytes with 64 zeros in the place of the checksum. So a client in any language can check it without
writing numbers as Python does. The checksum finds damage, not forgery: everyone who can write the folder can write
it. An app that knows the right one beforehand pins the bundle: `Predictor.load(..., digest=...)` reads that bundle
and no other.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebehave.version import __version__

FORMAT_VERSION = 2
"""The version of bundles that this runtime reads; bundles of version 1 must be exported again."""

MAX_JSON_BYTES = 8 << 20
"""manifest.json, and vocabulary.json: a character may take four bytes of memory, twice."""

MAX_BUNDLE_BYTES = 32 << 20
"""All files of a bundle that the runtime reads; the others together may have as many."""

MAX_PINNED_BYTES = 2 << 30
"""The same for a bundle that is opened by its digest, which an app does only if it trusts the bundle."""

MAX_FILES = 32
_MAX_VALUES, _MAX_NAMES = 1 << 19, 1 << 14
"""Values in a JSON file, and names of objects: one of two characters takes 300 bytes of memory and more."""

_ZEROS = 64 * b"0"
_FILE_NAME = re.compile(r"[a-z0-9_]{1,60}\.[a-z]{1,5}")
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")
_DIGEST = re.compile(rb'(?<="digest": ")[0-9a-f]{64}(?=")')
_NAME = re.compile(rb'"\s*:')


class BundleError(ValueError):
    """A bundle that is damaged, incomplete, or made for another version of the runtime."""


def manifest_digest(content: bytes) -> str:
    """The checksum of a manifest.json of this content, the value of its "digest", in hexadecimal.

    Returns "" if there is not exactly one digest.
    """
    undigested, count = _DIGEST.subn(_ZEROS, content)
    return hashlib.sha256(undigested).hexdigest() if count == 1 else ""


def digested_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Content of manifest.json, with its checksum; NaN and infinity become null."""
    undigested = without_nan({**manifest, "digest": _ZEROS.decode()})
    content = (json.dumps(undigested, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    digest = manifest_digest(content)
    assert digest, "a manifest has one digest"
    return _DIGEST.sub(digest.encode(), content)


def read_manifest(path: Path, digest: str | None = None) -> dict[str, Any]:
    """The manifest of the bundle in a folder.

    digest  the checksum that it must have; None: any.
    Raises BundleError if it is damaged, of another version, or has another checksum.
    """
    file = path / "manifest.json"
    if not os.path.exists(file):  # of a name that no file can have, too
        raise BundleError(f"{path} is not a bundle; make one with `edgebehave export`")
    content = _read_regular(file, MAX_JSON_BYTES)
    try:
        manifest = read_json(content)
        version, needed = manifest["format_version"], manifest["min_runtime"]
        if type(version) is not int or not _VERSION.fullmatch(needed):
            raise ValueError("version")
        is_newer = _parts(needed) > _parts(__version__)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise BundleError(f"{file} is damaged; copy or export the bundle again") from None
    if version > FORMAT_VERSION or is_newer:
        raise BundleError(
            f"{path} is a bundle of format {version} and needs edgebehave {needed} or newer, "
            f"this is {__version__}; upgrade edgebehave"
        )
    if version < FORMAT_VERSION:
        raise BundleError(
            f"{path} is a bundle of format {version}, this runtime reads {FORMAT_VERSION}; "
            "export it again from its checkpoint"
        )
    if manifest.get("digest") != manifest_digest(content):
        raise BundleError(f"{file} is damaged: its checksum does not fit its content; copy the bundle again")
    if digest is not None and digest.lower() != manifest["digest"]:
        raise BundleError(
            f"{path} has the digest {manifest['digest']}, not {digest:.80}: it is not the bundle that was asked for"
        )
    return dict(manifest)


def without_nan(content: Any) -> Any:
    """The content with None for NaN and infinity, which JSON lacks: null means "not measured"."""
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return content


def read_json(content: bytes) -> Any:
    """JSON with one reading: each name of an object once, and NaN and infinity, which are no JSON, as None.

    Bundles of before have NaN where a metric had no target.
    Raises ValueError, also for one that is too large, or RecursionError if it is nested too deeply.
    """
    # Commas and brackets inside texts count as well: a bound that needs no reading.
    num_values = sum(map(content.count, (b",", b"[", b"{")))
    if len(content) > MAX_JSON_BYTES or num_values > _MAX_VALUES or len(_NAME.findall(content)) > _MAX_NAMES:
        raise ValueError(f"it has {len(content)} bytes and {num_values} values, more than a bundle's file needs")

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(given)
        if len(found) != len(given):
            raise ValueError("a name stands twice in an object")
        return found

    return json.loads(content.decode("utf-8"), object_pairs_hook=pairs, parse_constant=lambda name: None)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def listed_files(
    path: Path,
    manifest: Mapping[str, Any],
    required: tuple[str, ...],
    read: set[str],
    max_bytes: int = MAX_BUNDLE_BYTES,
) -> dict[str, Any]:
    """The files that a manifest lists, with size and hash, before any of them is read; arguments as in `read_files`.

    Raises BundleError unless each is a file of the manifest's own folder, and all are small enough.
    """
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise BundleError(f"{path}/manifest.json lists no files; copy or export it again")
    for name in required:
        if name not in listed:
            raise BundleError(f"{path}/manifest.json does not list {name}; export it again")
    if len(listed) > MAX_FILES:
        raise BundleError(f"{path}/manifest.json lists {len(listed)} files, more than {MAX_FILES}")
    total = carried = 0
    for name, expected in listed.items():
        # A manifest may name files of its own folder only, no other file of the device.
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(f"{path}/manifest.json lists {name!r:.80}, which is not a file name of a bundle")
        size = expected.get("bytes") if isinstance(expected, dict) else None
        if type(size) is not int or not 0 <= size <= MAX_PINNED_BYTES:
            raise BundleError(f"{path}/manifest.json gives {name} no size up to {MAX_PINNED_BYTES} bytes")
        total, carried = (total + size, carried) if name in read else (total, carried + size)
    if max(total, carried) > max_bytes:
        raise BundleError(
            f"{path} has {total} bytes, and {carried} of files that are not read, more than {max_bytes} of either; a "
            "larger bundle that you trust opens with the digest of its manifest.json: Predictor.load(..., digest=...)"
        )
    return listed


def read_files(
    path: Path,
    manifest: Mapping[str, Any],
    required: tuple[str, ...],
    read: set[str],
    max_bytes: int = MAX_BUNDLE_BYTES,
) -> dict[str, bytes]:
    """Contents of the files `read`, of those that a manifest lists, each with the size and the hash that it says.

    Graphs run from these bytes, so the verified bytes are the ones that run. The other files are verified, too.
    Raises BundleError if a file is missing, damaged, or not a regular file, or one of the `required` is not listed.
    """
    listed = listed_files(path, manifest, required, read, max_bytes)
    contents: dict[str, bytes] = {}
    for name, expected in listed.items():
        content = _read_regular(path / name, expected["bytes"], exactly=True)
        if hashlib.sha256(content).hexdigest() != expected.get("sha256"):
            raise BundleError(
                f"{path}/{name} is damaged: {len(content)} bytes, and its SHA-256 is not "
                "the one in manifest.json; copy the bundle again"
            )
        if name in read:
            contents[name] = content
    return contents


def _read_regular(file: Path, num_bytes: int, exactly: bool = False) -> bytes:
    """Content of a file of at most, or exactly, this size; a link, a pipe or a device is not opened for reading."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise BundleError(f"{file} is not a regular file; copy the bundle again, whole")
        with os.fdopen(os.open(file, flags), "rb") as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{file} is not a regular file; copy the bundle again, whole")
            if found.st_size > num_bytes or (exactly and found.st_size != num_bytes):
                raise BundleError(
                    f"{file} is damaged: {found.st_size} bytes, expected {num_bytes}; copy the bundle again"
                )
            content = opened.read(num_bytes + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{file} cannot be read ({reason}); copy the bundle again, whole") from None
    if len(content) != found.st_size:
        raise BundleError(f"{file} changes while it is read; copy the bundle again")
    return content
