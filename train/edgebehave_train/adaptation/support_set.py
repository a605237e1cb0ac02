"""The support set: k examples of each new behavior, and a replay of the known ones."""

# N events, S ranges, M positions with a target, V behaviors

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, behavior_counts, map_log
from edgebehave_train.logs.packing import share_of_ranges
from edgebehave_train.logs.split import TRAIN, part_bounds, part_of_event
from edgebehave_train.training.checkpoint import Checkpoint

REPLAY_EVENTS = 6000
"""Least number of events of the training part that are replayed beside the examples."""


@dataclass(frozen=True, kw_only=True)
class Support:
    """Training data of an adaptation; the new behaviors are the last of the V.

    ranges     (S, 2) positions in the store: histories of the examples, and the replay.
    is_target  (N,) bool: the examples, and the known targets of the replay.
    examples   (V,) int64, examples of each new behavior; 0 for the known ones.
    num_known  behaviors that are not new, id 0 included.
    prior      (V,) float64, share of each behavior in the training part.
    share      (V,) float64, its share of the training targets.
    """

    ranges: npt.NDArray[np.int64]
    is_target: npt.NDArray[np.bool_]
    examples: npt.NDArray[np.int64]
    num_known: int
    prior: npt.NDArray[np.float64]
    share: npt.NDArray[np.float64]


def choose_support(
    store: EventStore, checkpoint: Checkpoint, vocabulary: Vocabulary, examples: int, seed: int
) -> Support:
    """k examples of each new behavior, seeded, and a replay of known ones; or the training part.

    An example is a target and the `window` events before it. The replay is a random sample of the
    training part, as large as the histories of the examples but at least `REPLAY_EVENTS`, whose
    known behaviors are targets. Other occurrences of new behaviors are inputs and never targets, so
    that exactly k train.
    """
    num_known, num_behaviors = checkpoint.vocabulary.num_behaviors, vocabulary.num_behaviors
    is_train = part_of_event(store, checkpoint.config.split) == TRAIN
    bounds = part_bounds(store, checkpoint.config.split)
    log = map_log(store, vocabulary)
    first_of_user = np.repeat(bounds[:, 0], np.diff(store.user_start))
    rng = np.random.default_rng(seed)
    part = np.stack([bounds[:, 0], bounds[:, 1] - 1], 1)
    chosen = []
    for behavior in range(num_known, num_behaviors):
        # The first event of a user has no history.
        is_it = (log.target == behavior) & is_train
        found = np.flatnonzero(is_it & (np.arange(store.num_events) > first_of_user))
        chosen.append(np.sort(rng.permutation(found)[:examples]) if examples else found)
    if not examples:
        ranges, is_target = part, is_train
    else:
        example = np.unique(np.concatenate(chosen))
        start = np.maximum(example - checkpoint.model_config.window, first_of_user[example])
        histories = union_of_ranges(np.stack([start, example], 1))
        num_replayed = max(REPLAY_EVENTS, int((histories[:, 1] - histories[:, 0]).sum()))
        share = num_replayed / max(1, int((part[:, 1] - part[:, 0]).clip(0).sum()))
        replay = share_of_ranges(part, min(share, 1.0), seed)
        ranges = union_of_ranges(np.concatenate([histories, replay]))
        _, replayed = positions_with_target(log, replay, is_train & (log.target < num_known))
        is_target = np.zeros(store.num_events, bool)
        is_target[replayed] = is_target[example] = True
    count = behavior_counts(store, is_train, vocabulary)
    where, following = positions_with_target(log, ranges, is_target)
    shown = np.bincount(log.target[following], minlength=num_behaviors)
    num_examples = np.zeros(num_behaviors, np.int64)
    num_examples[num_known:] = [len(found) for found in chosen]
    return Support(
        ranges=ranges,
        is_target=is_target,
        examples=num_examples,
        num_known=num_known,
        prior=count / count.sum(),
        share=shown / max(1, len(where)),
    )


def union_of_ranges(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same positions in ranges that do not overlap, ascending.

    ranges  (S, 2), each inside one user; ranges that only touch stay apart, as they may belong to
            two users.
    """
    joined: list[list[int]] = []
    ranges = ranges[ranges[:, 1] > ranges[:, 0]]
    for start, stop in ranges[np.argsort(ranges[:, 1], kind="stable")].tolist():
        while joined and joined[-1][1] > start:
            start = min(start, joined.pop()[0])
        joined.append([start, stop])
    return np.array(joined, np.int64).reshape(-1, 2)


def positions_with_target(
    log: MappedLog, ranges: npt.NDArray[np.int64], is_target: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the ranges that are followed by a target, and the positions of these targets, both (M,)."""
    is_inside = np.zeros(len(log.event) + 1, np.int64)
    np.add.at(is_inside, ranges[:, 0], 1)
    np.add.at(is_inside, np.maximum(ranges[:, 0], ranges[:, 1]), -1)
    where = np.flatnonzero((is_inside.cumsum()[:-1] > 0) & (log.next_behavior >= 0))
    following = log.next_behavior[where]
    taken = is_target[following] & (log.target[following] > 0)
    return where[taken], following[taken]
