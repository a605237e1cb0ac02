"""Probabilities of the names that users have had, as the universal model gives them for the targets of a log."""

# R targets, C candidates, id 0 included

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave.answers.combination import Powers
from edgebehave_train.files import read_tensors, write_tensors
from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog, Targets
from edgebehave_train.simulator.traits import NO_LOCATION
from edgebehave_train.universal.answers import answer_windows
from edgebehave_train.universal.sequences import User
from edgebehave_train.universal.universal_model import FORMAT_VERSION, NEVER, UniversalConfig, UniversalModel

LOOKUP_FILE = "lookup.safetensors"


def users_of(log: BehaviorLog, users: npt.NDArray[np.integer]) -> list[User]:
    """Behaviors, locations and local times of some users."""
    columns: list[User] = []
    for user in users.tolist():
        own = log.user(user)
        local_s = own.time_s + 60 * own.utc_offset_min.astype(np.int64)
        columns.append((own.behavior, np.where(own.location > 0, own.location, NO_LOCATION), local_s))
    return columns


def own_probs(
    model: UniversalModel, log: BehaviorLog, targets: Targets
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """p of the names that each user has had within reach, 0 for all others; what is missing to 1 is any other name's.

    Yields  (R,) indices into targets and (R, C) float32, in any order.
    Raises ValueError if targets are asked at another time than theirs.
    """
    is_timed = log.query_time_s[targets.row] != NO_TIME
    if is_timed.any() and (log.query_time_s != log.time_s)[targets.row].any():
        raise ValueError("the universal model answers on time or without a time here, not early")
    row = targets.row
    indices, begins = np.unique(targets.user, return_index=True)
    asked = []
    for user, rows in zip(indices.tolist(), np.split(row, begins[1:]), strict=True):
        start = int(log.user_start[user])
        asked.append(range(int(rows[0]) - start, int(rows[-1]) - start + 1))
    for window, logits, _ in answer_windows(model, users_of(log, indices), asked, bool(is_timed.all())):
        first = int(log.user_start[indices[window.user]]) + window.queries.start
        which = np.arange(*np.searchsorted(row, [first, first + len(window.queries)]).tolist())
        if not len(which):
            continue
        probs = logits.softmax(-1)[:, : len(window.names)].numpy()[row[which] - first]
        is_used = logits[:, : len(window.names)].numpy()[row[which] - first] > NEVER
        probs_RC = np.zeros((len(which), log.num_candidates), np.float32)
        # A name that was used is a candidate, however unlikely.
        probs_RC[:, window.names] = np.where(is_used, np.maximum(probs, 1e-12), 0)
        yield which, probs_RC


class Lookup:
    """A universal model and the powers with which it takes part in the answers of a named one."""

    def __init__(self, model: UniversalModel, powers: Powers) -> None:
        self.model, self.powers = model.eval(), powers

    def combine(
        self,
        log: BehaviorLog,
        targets: Targets,
        which: npt.NDArray[np.integer],
        named_RC: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """Answers for some of the targets, (R, C): arguments of `target_probs`, and the named model's answers."""
        probs_RC = np.zeros_like(named_RC)
        for part, own_RC in own_probs(self.model, log, targets.take(which)):
            probs_RC[part] = self.powers.combine(named_RC[part], own_RC)
        return probs_RC


def write_lookup(path: Path, lookup: Lookup) -> None:
    """Write a lookup into a checkpoint's folder."""
    described = {
        "version": FORMAT_VERSION,
        "shape": lookup.model.config.to_json(),
        "powers": dataclasses.asdict(lookup.powers),
    }
    metadata = {name: json.dumps(value) for name, value in described.items()}
    write_tensors(path / LOOKUP_FILE, lookup.model.state_dict(), metadata)


def read_lookup(path: Path) -> Lookup | None:
    """The lookup of a checkpoint; None if it has none. Raises ValueError if it is damaged, or of another version."""
    file = path / LOOKUP_FILE
    if not file.is_file():
        return None
    weights, metadata = read_tensors(file)
    version = metadata.get("version", "1")
    if version != str(FORMAT_VERSION):
        raise ValueError(f"{file} is of version {version:.20}, expected {FORMAT_VERSION}; train it again")
    try:
        model = UniversalModel(UniversalConfig(**json.loads(metadata["shape"])))
        model.load_state_dict(weights)
        powers = Powers(**json.loads(metadata["powers"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{file} is damaged: {error!s:.200}") from None
    return Lookup(model, powers)
