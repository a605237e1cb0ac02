"""The behaviors of a log in the ids of a checkpoint, and the targets to predict among them.

Every model and baseline scores the same `Targets`, so rows of a table can be compared.
"""

# N events, U users, M events that have a behavior, V known behaviors (id 0 included), T targets

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgebehave.vocabulary import NO_BEHAVIOR, UNKNOWN

NO_TIME = np.iinfo(np.int64).min
"""Time of a query whose time is not known."""


@dataclass(frozen=True, kw_only=True)
class UserBehaviors:
    """The behaviors of one user, oldest first; events without a behavior are left out.

    event_index     (m,) position of each among all events of the user.
    behavior        (m,) ids, spare ids included.
    location        (m,) ids; only their identity matters.
    time_s          (m,) UTC seconds at which each happened.
    query_time_s    (m,) UTC seconds at which each is asked for; NO_TIME = not known.
    utc_offset_min  (m,) minutes to add for local time, of both.
    """

    event_index: npt.NDArray[np.integer]
    behavior: npt.NDArray[np.integer]
    location: npt.NDArray[np.integer]
    time_s: npt.NDArray[np.int64]
    query_time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The behaviors to predict, in log order; all arrays of shape (T,).

    event          position of the target among all events of the log.
    row            position among the events that have a behavior.
    user           index of the user in the log.
    behavior       id in 1..V-1, or 0: unknown, a miss for every model.
    last_behavior  the behavior before it; spare ids (V and above) included.
    is_switch      the target differs from the behavior before it.
    is_repeat      the user has had this behavior before.
    """

    event: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.int64]
    last_behavior: npt.NDArray[np.int64]
    is_switch: npt.NDArray[np.bool_]
    is_repeat: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: npt.NDArray[np.integer | np.bool_]) -> "Targets":
        """Some of the targets, by index or mask; indices must ascend."""
        return Targets(**{name: column[which] for name, column in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class BehaviorLog:
    """The events that have a behavior, users adjacent, each user's in time order.

    user_start     (U + 1,) user u owns rows user_start[u] .. user_start[u + 1] - 1.
    event          (M,) position of each row among all events of the log.
    event_index    (M,) position among all events of its user.
    behavior       (M,) 1..V-1 known; V..V+num_spare-1 the user's own, unknown to the vocabulary; 0 unknown and without
                   a spare id.
    target         (M,) the behavior that evaluation scores: 1..V-1, or 0 unknown. It differs from `behavior` for an
                   event that the vocabulary lacks and whose behavior it holds.
    location       (M,) ids; only their identity within a user matters.
    time_s         (M,) UTC seconds at which each happened.
    query_time_s   (M,) UTC seconds at which the row is asked for; NO_TIME if not known.
    utc_offset_min (M,) minutes to add for local time, of both.
    is_train       (M,) row belongs to the training part.
    num_behaviors  V.
    num_spare      spare ids per user.
    """

    user_start: npt.NDArray[np.int64]
    event: npt.NDArray[np.int64]
    event_index: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    location: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    query_time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int64]
    is_train: npt.NDArray[np.bool_]
    num_behaviors: int
    num_spare: int

    @classmethod
    def of_columns(
        cls,
        *,
        user_start: npt.NDArray[np.integer],
        mapped_behavior: npt.NDArray[np.integer],
        location: npt.NDArray[np.integer],
        time_s: npt.NDArray[np.integer],
        utc_offset_min: npt.NDArray[np.integer],
        is_train: npt.NDArray[np.bool_],
        num_behaviors: int,
        num_spare: int = 0,
        ask_early_s: int | None = 0,
        target: npt.NDArray[np.integer] | None = None,
    ) -> "BehaviorLog":
        """The behaviors among N events; columns as in the event store, ids already mapped.

        mapped_behavior  (N,) ids as in the class, -1 for an event without a behavior.
        ask_early_s      seconds before the target at which it is asked for, but not before the event that precedes it;
                         None: the time of the query is not known.
        target           (N,) ids as in the class, where they differ from the known behaviors; -1 for an event that has
                         a behavior on a device and none in the log.
        Raises ValueError for ids outside the vocabulary and its spare ids.
        """
        mapped = np.asarray(mapped_behavior, np.int64)
        moment_s, is_train = np.asarray(time_s, np.int64), np.asarray(is_train, bool)
        event = np.flatnonzero(mapped >= 0)
        behavior = mapped[event]
        if len(behavior) and behavior.max() >= num_behaviors + num_spare:
            raise ValueError(f"behavior {behavior.max()} lies outside {num_behaviors} known and {num_spare} spare ids")
        known = np.where(behavior < num_behaviors, behavior, UNKNOWN)
        wanted = known if target is None else np.asarray(target, np.int64)[event]
        if len(wanted) and not NO_BEHAVIOR <= wanted.min() <= wanted.max() < num_behaviors:
            raise ValueError(f"targets must lie in -1..{num_behaviors - 1} where behaviors are")
        user_start = np.asarray(user_start, np.int64)
        user_of_event = np.repeat(np.arange(len(user_start) - 1), np.diff(user_start))
        if ask_early_s is None:
            ask_s = np.full_like(moment_s, NO_TIME)
        else:
            ask_s = moment_s - ask_early_s
            later = np.flatnonzero(user_of_event[1:] == user_of_event[:-1]) + 1
            ask_s[later] = np.maximum(ask_s[later], moment_s[later - 1])
        return cls(
            user_start=np.searchsorted(event, user_start),
            event=event,
            event_index=event - user_start[user_of_event[event]],
            behavior=behavior,
            target=wanted,
            location=np.asarray(location, np.int64)[event],
            time_s=moment_s[event],
            query_time_s=ask_s[event],
            utc_offset_min=np.asarray(utc_offset_min, np.int64)[event],
            is_train=is_train[event],
            num_behaviors=num_behaviors,
            num_spare=num_spare,
        )

    @property
    def num_users(self) -> int:
        return len(self.user_start) - 1

    @property
    def num_candidates(self) -> int:
        """Columns of a score matrix: known behaviors, id 0 included, and spare ids."""
        return self.num_behaviors + self.num_spare

    @cached_property
    def train_counts(self) -> npt.NDArray[np.int64]:
        """(V,) how often each known behavior occurs in the training part; 0 for id 0."""
        known = self.is_train & (self.target > UNKNOWN)
        return np.bincount(self.target[known], minlength=self.num_behaviors)

    def user(self, user: int) -> UserBehaviors:
        """The rows of one user."""
        rows = slice(self.user_start[user], self.user_start[user + 1])
        return UserBehaviors(**{field.name: getattr(self, field.name)[rows] for field in fields(UserBehaviors)})

    def targets(self, in_part: npt.NDArray[np.bool_]) -> Targets:
        """All targets among the events that a mask selects.

        in_part  (N,) bool over all events of the log.
        Targets are the selected events that have a behavior, except the first behavior of a user, which has no
        history.
        """
        user_of_row = np.repeat(np.arange(self.num_users), np.diff(self.user_start))
        has_history = np.arange(len(self.event)) > self.user_start[user_of_row]
        is_target = np.asarray(in_part, bool)[self.event] & (self.target != NO_BEHAVIOR)
        row = np.flatnonzero(is_target & has_history)
        target, last_target = self.target[row], self.target[row - 1]
        last_behavior = self.behavior[row - 1]
        is_first = np.zeros(len(self.event), bool)
        is_first[np.unique(user_of_row * self.num_candidates + self.behavior, return_index=True)[1]] = True
        # Two unknown behaviors are compared by the user's own ids.
        return Targets(
            event=self.event[row],
            row=row,
            user=user_of_row[row],
            behavior=target,
            last_behavior=last_behavior,
            is_switch=np.where(
                (target <= UNKNOWN) & (last_target <= UNKNOWN),
                self.behavior[row] != last_behavior,
                target != last_target,
            ),
            is_repeat=~is_first[row],
        )


def draw_users(targets: Targets, max_targets: int, seed: int = 0) -> Targets:
    """The targets of some users: whole users are drawn until they hold max_targets, at least one user."""
    users, index, num_targets = np.unique(targets.user, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(users))
    drawn = order[: 1 + np.searchsorted(np.cumsum(num_targets[order]), max_targets)]
    return targets.take(np.isin(index, drawn))
