"""manifest.json vouches for the other files of a bundle by their hashes; its digest for itself.

The digest is the SHA-256 of the file's bytes with 64 zeros in the place of the digest. So any
client can check it, however its language writes numbers. It finds damage, not forgery: who can
write the folder can write the digest.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_NONE = 64 * b"0"
_DIGEST = re.compile(rb'(?<="digest": ")[0-9a-f]{64}(?=")')


def manifest_digest(content: bytes) -> str:
    """What "digest" must be in manifest.json of this content, in hexadecimal.

    Returns "" if there is not exactly one digest.
    """
    undigested, count = _DIGEST.subn(_NONE, content)
    return hashlib.sha256(undigested).hexdigest() if count == 1 else ""


def digested_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Content of manifest.json, with a digest."""
    undigested = {**manifest, "digest": _NONE.decode()}
    content = (json.dumps(undigested, indent=2, ensure_ascii=False) + "\n").encode()
    digest = manifest_digest(content)
    assert digest, "a manifest has one digest"
    return _DIGEST.sub(digest.encode(), content)
