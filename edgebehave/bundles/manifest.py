"""The manifest of a bundle: its digest, its versions, and the hashes of the files that it lists.

manifest.json holds the hashes of the other files, and a digest of itself: the SHA-256 of its bytes with 64
zeros in the place of the digest. So a client in any language can check it without writing numbers as Python
does. The digest finds damage, not forgery: everyone who can write the folder can write the digest.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgebehave.version import __version__

FORMAT_VERSION = 2
"""The version of bundles that this runtime reads; bundles of version 1 must be exported again."""

_ZEROS = 64 * b"0"
_DIGEST = re.compile(rb'(?<="digest": ")[0-9a-f]{64}(?=")')


class BundleError(ValueError):
    """A bundle that is damaged, incomplete, or made for another version of the runtime."""


def manifest_digest(content: bytes) -> str:
    """The value of "digest" in a manifest.json of this content, in hexadecimal.

    Returns "" if there is not exactly one digest.
    """
    undigested, count = _DIGEST.subn(_ZEROS, content)
    return hashlib.sha256(undigested).hexdigest() if count == 1 else ""


def digested_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Content of manifest.json, with a digest."""
    undigested = {**manifest, "digest": _ZEROS.decode()}
    content = (json.dumps(undigested, indent=2, ensure_ascii=False) + "\n").encode()
    digest = manifest_digest(content)
    assert digest, "a manifest has one digest"
    return _DIGEST.sub(digest.encode(), content)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the bundle in a folder. Raises BundleError if it is damaged or of another version."""
    file = path / "manifest.json"
    if not file.is_file():
        raise BundleError(f"{path} is not a bundle; make one with `edgebehave export`")
    try:
        content = file.read_bytes()
        manifest = json.loads(content)
        version = int(manifest["format_version"])
        needed = str(manifest["min_runtime"])
        is_newer = _parts(needed) > _parts(__version__)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise BundleError(f"{file} is damaged; copy or export the bundle again") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read ({error.strerror})") from None
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
        raise BundleError(f"{file} is damaged: its digest does not fit its content; copy the bundle again")
    return dict(manifest)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def read_files(path: Path, manifest: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of all files that a manifest lists, each with the hash that it says.

    Graphs run from these bytes, so the verified bytes are the ones that run.
    Raises BundleError if a file is missing or damaged, or one of the `required` is not listed.
    """
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise BundleError(f"{path}/manifest.json lists no files; copy or export it again")
    for name in required:
        if name not in listed:
            raise BundleError(f"{path}/manifest.json does not list {name}; export it again")
    contents: dict[str, bytes] = {}
    for name, expected in listed.items():
        # A manifest may name files of its own folder only, no other file of the device.
        if Path(name).name != name:
            raise BundleError(f"{path}/manifest.json lists {name!r}, which is not a file name")
        try:
            contents[name] = (path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{path}/{name} cannot be read ({error.strerror}); copy the bundle again, whole"
            ) from None
        digest = hashlib.sha256(contents[name]).hexdigest()
        if not isinstance(expected, dict) or digest != expected.get("sha256"):
            raise BundleError(
                f"{path}/{name} is damaged: {len(contents[name])} bytes, and its SHA-256 is not "
                "the one in manifest.json; copy the bundle again"
            )
    return contents
