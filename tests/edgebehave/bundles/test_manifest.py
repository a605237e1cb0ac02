"""The digest of a manifest covers every byte of it, its own value included; values that were not measured are null."""

import hashlib
import json
import math

import pytest

from edgebehave.bundles.manifest import digested_manifest, manifest_digest, read_json


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


def test_a_metric_without_targets_is_null():
    content = digested_manifest({"quality": {"tail": math.nan, "head": (0.5, math.inf)}})
    assert json.loads(content)["quality"] == {"tail": None, "head": [0.5, None]}


def test_nan_of_an_older_bundle_is_read_as_not_measured():
    assert read_json(b'{"tail": NaN, "head": [-Infinity, 1]}') == {"tail": None, "head": [None, 1]}
