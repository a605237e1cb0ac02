"""Generation of the future of users by a checkpoint, for names of users and with names of events.

`futures.py` holds the distribution of one step.
"""

# U users, N steps of a continuation

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from edgebehave.answers.sampling import Sampling
from edgebehave_train.generation.futures import DRAWS, Futures, LocationNames
from edgebehave_train.generation.past import Prompts
from edgebehave_train.logs.event_store import EventStore, NamedEvent
from edgebehave_train.logs.mapped_log import event_identity, map_log
from edgebehave_train.training.checkpoint import Checkpoint

_USERS_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True)
class Continuations:
    """The next N behaviors of each user, real or generated; events without a behavior are left out.

    start_s         (U,) UTC seconds of the last known behavior.
    time_s          (U, N) UTC seconds.
    utc_offset_min  (U, N) minutes to add for local time.
    behavior        (U, N) ids as in `MappedLog`: >= V is the user's own.
    event           (U, N) ids of the vocabulary; num_events + behavior for an event that is a behavior of the
                    user's own.
    location        (U, N) ids of the location names of the store, as in `MappedLog`; locations that only the
                    vocabulary of the generator has follow behind them.
    """

    start_s: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    utc_offset_min: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.int64]
    event: npt.NDArray[np.int64]
    location: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start_s)

    @property
    def num_steps(self) -> int:
        return self.time_s.shape[1]

    @property
    def gap_s(self) -> npt.NDArray[np.int64]:
        """(U, N) seconds since the behavior before each."""
        return np.diff(self.time_s, axis=1, prepend=self.start_s[:, None])


class Generator:
    """Futures for the users of a store, by one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, store: EventStore) -> None:
        """Raises ValueError if the checkpoint has no generation heads."""
        if not checkpoint.model_config.generation_heads:
            raise ValueError(
                f"{checkpoint.path} has no generation heads; train with them: "
                "edgebehave train STORE -o OUT --set generation_heads=true"
            )
        self.model = checkpoint.load_model()
        self.vocabulary = checkpoint.vocabulary
        self.store = store
        self.log = map_log(store, checkpoint.vocabulary)
        self.location_names = LocationNames(store, checkpoint.vocabulary)

    def prompts_of(self, users: Sequence[str]) -> Prompts:
        """All events of some users, by name. Raises ValueError for a user whom the store does not have."""
        names = {name: i for i, name in enumerate(self.store.users())}
        for user in users:
            if user not in names:
                example = next(iter(names))
                raise ValueError(f"{self.store.path} has no user {user!r}; it has for example {example!r}")
        index = np.array([names[user] for user in users], np.int64)
        start, stop = self.log.user_start[index], self.log.user_start[index + 1]
        return Prompts(user=index, start=start, stop=stop)

    def generate(
        self, prompts: Prompts, num_steps: int, *, seed: int = 0, sampling: Sampling | None = None
    ) -> Continuations:
        """The next `num_steps` behaviors of every prompt.

        A user's future depends on the seed and the user alone.
        Raises ValueError if a prompt has no behavior.
        """
        if num_steps < 1:
            raise ValueError(f"steps must be at least 1, got {num_steps}")
        sampling = sampling or Sampling()
        pieces = []
        for first in range(0, len(prompts), _USERS_AT_A_TIME):
            some = prompts.take(slice(first, first + _USERS_AT_A_TIME))
            draws = np.stack([np.random.default_rng([seed, u]).random((num_steps, DRAWS)) for u in some.user])
            stream = Futures(self.model, self.log, self.location_names, some, num_steps)
            steps = [stream.step(draws[:, n], sampling) for n in range(num_steps)]
            columns = {name: np.stack([step[name] for step in steps], 1).astype(np.int64) for name in steps[0]}
            pieces.append(Continuations(start_s=stream.start_s, **columns))
        return Continuations(
            **{f.name: np.concatenate([getattr(piece, f.name) for piece in pieces]) for f in fields(Continuations)}
        )

    def named(self, prompts: Prompts, futures: Continuations, which: int) -> Iterator[NamedEvent]:
        """The future of one prompt with the names of the log."""
        vocabulary, num_events = self.vocabulary, self.vocabulary.num_events
        own = slice(int(prompts.start[which]), int(prompts.stop[which]))
        identity = event_identity(self.log)[own]
        for n in range(futures.num_steps):
            event, behavior = int(futures.event[which, n]), int(futures.behavior[which, n])
            if event < num_events:
                name = vocabulary.events[event]
            else:
                position = own.start + int(np.flatnonzero(identity == event)[0])
                name = self.store.vocabulary.events[self.store.event[position]]
            location = int(futures.location[which, n])
            yield NamedEvent(
                event=name,
                location=self.location_names.locations[location] if location else None,
                behavior=vocabulary.behaviors[behavior] if behavior < vocabulary.num_behaviors else name,
                time_s=int(futures.time_s[which, n]),
                utc_offset_min=int(futures.utc_offset_min[which, n]),
            )
