"""Tables of readable names whose keys are hashes of behaviors, for logs whose own words are not in the project."""

import json
import re
import warnings
from hashlib import sha256
from pathlib import Path

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.llm.prompts.behavior_names import read_name_table

_HASH = re.compile("[0-9a-f]{12}")


def name_hash(behavior: str) -> str:
    """The key of a behavior: the first 12 hex digits of the SHA-256 of its UTF-8 bytes."""
    return sha256(behavior.encode()).hexdigest()[:12]


def table_of_behaviors(names: Path, vocabulary: Vocabulary, out: Path) -> Path:
    """The file of a table whose keys are behaviors: `names` itself, or `out`/names.json made from hashes.

    A table is keyed by hash if all its keys are 12 hex digits. A behavior without a hash in it keeps its own
    name, with a warning.
    Raises ValueError if the table holds the hash of no behavior.
    """
    table = read_name_table(names)
    if not table or not all(map(_HASH.fullmatch, table)):
        return names
    found = {behavior: table[key] for behavior in vocabulary.behaviors[1:] if (key := name_hash(behavior)) in table}
    if not found:
        raise ValueError(
            f"{names} holds hashes of names, but none of the {len(vocabulary.behaviors) - 1} behaviors of the "
            "store; take the table of this log"
        )
    if missing := len(vocabulary.behaviors) - 1 - len(found):
        warnings.warn(f"{names} names {missing} behaviors of the store not: they keep their own names", stacklevel=2)
    written = out / "names.json"
    written.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return written
