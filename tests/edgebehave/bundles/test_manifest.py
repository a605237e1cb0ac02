"""The digest of a manifest covers every byte of it, its own value included."""

import hashlib

import pytest

from edgebehave.bundles.manifest import digested_manifest, manifest_digest


def test_it_is_the_hash_with_zeros_in_its_place():
    content = digested_manifest({"a": 1})
    digest = manifest_digest(content)
    assert f'"digest": "{digest}"'.encode() in content
    zeros = content.replace(digest.encode(), 64 * b"0")
    assert hashlib.sha256(zeros).hexdigest() == digest


@pytest.mark.parametrize("count", [0, 2])
def test_there_is_exactly_one(count):
    content = b'{"digest": "' + 64 * b"a" + b'"}'
    assert manifest_digest(content)
    assert manifest_digest(count * content) == ""
