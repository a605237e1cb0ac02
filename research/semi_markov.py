"""A semi-Markov generator: counts of pairs of behaviors, and the waiting times between them.

    b' ~ p(b' | b)      the user's own transitions, smoothed with those of all users
    gap ~ gaps(b, b')   a waiting time that was seen between the two, the user's own first

The transitions of all users are Witten-Bell smoothed (Witten and Bell 1991) with the frequencies:

    q(b' | b) = (c(b, b') + T(b) q(b')) / (c(b) + T(b))
    p(b' | b) = (c_u(b, b') + k ((1 - l) q(b' | b) + l q_u(b'))) / (c_u(b) + k)

c counts in the training part of all users, c_u in everything the user did before the forecast
point, T(b) is how many different behaviors followed b, q_u are the user's own frequencies. The
strength k and the share l are fitted to the validation behaviors. A waiting time comes from the
user's own (b, b') with probability n / (n + 3), n their number, else from (b, b') of all users,
from all after b where there is none, and from all waiting times where there is none either.
It generates no locations and does not use the time of day.
"""

# U users, N steps, V behaviors

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgebehave.answers.sampling import Sampling
from edgebehave_train.generation.generation import Continuations
from edgebehave_train.generation.past import Prompts
from edgebehave_train.logs.mapped_log import MappedLog

_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
_OWN_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
_OWN_GAP_STRENGTH = 3.0
_DRAWS = 3  # behavior, whose gap, which gap


@dataclass(kw_only=True)
class _Counts:
    """Pairs of adjacent behaviors and the waiting times between them."""

    frequency: npt.NDArray[np.float64]
    pairs: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    gaps: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    gaps_after: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of_users(cls, users: list[tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]], size: int) -> "_Counts":
        """From (behaviors, times) per user; ids from `size` on are left out."""
        counts = cls(frequency=np.zeros(size))
        for behavior, time_s in users:
            known = behavior < size
            counts.frequency += np.bincount(behavior[known], minlength=size)[:size]
            both = known[1:] & known[:-1]
            for b, after, gap_s in zip(
                behavior[:-1][both].tolist(),
                behavior[1:][both].tolist(),
                np.diff(time_s)[both].tolist(),
                strict=True,
            ):
                counts.pairs[b][after] = counts.pairs[b].get(after, 0) + 1
                counts.gaps[b, after].append(gap_s)
                counts.gaps_after[b].append(gap_s)
        return counts

    def row(self, b: int) -> npt.NDArray[np.float64]:
        """c(b, .), one number per behavior."""
        row = np.zeros(len(self.frequency))
        for after, count in self.pairs.get(b, {}).items():
            row[after] = count
        return row


class SemiMarkov:
    """The generator, fitted to the training part of a log."""

    def __init__(self, log: MappedLog, is_train: npt.NDArray[np.bool_]) -> None:
        """is_train is (N,) bool over the events of the log."""
        self._log = log
        self._size = max(log.vocabulary.num_behaviors, int(log.behavior.max(initial=0)) + 1)
        num_known = log.vocabulary.num_behaviors
        all_users = _Counts.of_users(
            [
                self._past(start, stop, is_train)
                for start, stop in zip(log.user_start[:-1], log.user_start[1:], strict=True)
            ],
            num_known,
        )
        self._all_users = all_users
        frequency = np.zeros(self._size)
        frequency[1:num_known] = all_users.frequency[1:] + 1e-3
        self._frequency = frequency / frequency.sum()
        self._shared_rows: dict[int, npt.NDArray[np.float64]] = {}
        self._all_gaps = np.concatenate([[86400], *map(np.array, all_users.gaps_after.values())])
        self.strength, self.own_share = 10.0, 0.25

    def _past(
        self, start: int, stop: int, mask: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        rows = slice(int(start), int(stop))
        keep = self._log.behavior[rows] >= 0
        if mask is not None:
            keep &= mask[rows]
        return self._log.behavior[rows][keep], self._log.time_s[rows][keep]

    def _shared_row(self, b: int) -> npt.NDArray[np.float64]:
        """q(. | b)."""
        if b not in self._shared_rows:
            row = np.zeros(self._size)
            counted = self._all_users.row(b)
            row[: len(counted)] = counted
            distinct = np.count_nonzero(row)
            total = row.sum() + distinct
            self._shared_rows[b] = (row + distinct * self._frequency) / total if total else self._frequency
        return self._shared_rows[b]

    def _own_row(self, own: _Counts, b: int, strength: float, share: float) -> npt.NDArray[np.float64]:
        """p(. | b) of a user."""
        row = own.row(b)
        total = max(own.frequency.sum(), 1)
        prior = (1 - share) * self._shared_row(b) + share * own.frequency / total
        mixed: npt.NDArray[np.float64] = (row + strength * prior) / (row.sum() + strength)
        return mixed

    def fit(self, prompts: Prompts, num_steps: int) -> None:
        """Choose strength and own share by the likelihood of what came behind some prompts."""
        best = -np.inf
        own = [self._own(start, stop) for start, stop in self._borders(prompts)]
        following = []
        for stop, user in zip(prompts.stop.tolist(), prompts.user.tolist(), strict=True):
            behavior, _ = self._past(stop, self._log.user_start[user + 1])
            last, _ = self._past(self._log.user_start[user], stop)
            following.append(np.append(last[-1:], behavior[:num_steps]).tolist())
        for strength in _STRENGTHS:
            for share in _OWN_SHARES:
                total = 0.0
                for counts, chain in zip(own, following, strict=True):
                    rows = {b: self._own_row(counts, b, strength, share) for b in set(chain)}
                    pairs = itertools.pairwise(chain)
                    total += sum(np.log(max(rows[b][after], 1e-9)) for b, after in pairs)
                if total > best:
                    best, self.strength, self.own_share = total, strength, share

    def _borders(self, prompts: Prompts) -> list[tuple[int, int]]:
        return list(zip(prompts.start.tolist(), prompts.stop.tolist(), strict=True))

    def _own(self, start: int, stop: int) -> _Counts:
        return _Counts.of_users([self._past(start, stop)], self._size)

    def generate(
        self,
        prompts: Prompts,
        num_steps: int,
        *,
        seed: int = 0,
        sampling: Sampling | None = None,
    ) -> Continuations:
        """The next behaviors of every prompt; event is the behavior, location is none."""
        sampling = sampling or Sampling()
        behavior = np.zeros((len(prompts), num_steps), np.int64)
        gap_s = np.zeros_like(behavior)
        start_s = np.zeros(len(prompts), np.int64)
        for u, (start, stop) in enumerate(self._borders(prompts)):
            draws = np.random.default_rng([seed, prompts.user[u]]).random((num_steps, _DRAWS))
            own = self._own(start, stop)
            past, time_s = self._past(start, stop)
            last, start_s[u] = int(past[-1]), time_s[-1]
            rows: dict[int, npt.NDArray[np.float64]] = {}
            for n in range(num_steps):
                if last not in rows:
                    row = self._own_row(own, last, self.strength, self.own_share)
                    rows[last] = sampling.adjusted(row[None])[0].cumsum()
                mass = rows[last]
                after = int(np.searchsorted(mass, draws[n, 0] * mass[-1], side="right"))
                after = min(after, len(mass) - 1)
                gap_s[u, n] = self._gap(own, last, after, draws[n, 1], draws[n, 2])
                behavior[u, n] = last = after
        return Continuations(
            start_s=start_s,
            time_s=start_s[:, None] + gap_s.cumsum(1),
            utc_offset_min=np.tile(
                self._log.utc_offset_min[prompts.stop - 1].astype(np.int64)[:, None],
                (1, num_steps),
            ),
            behavior=behavior,
            event=behavior,
            location=np.zeros_like(behavior),
        )

    def _gap(self, own: _Counts, b: int, after: int, whose: float, which: float) -> int:
        mine = own.gaps.get((b, after), [])
        theirs = self._all_users.gaps.get((b, after), []) or self._all_users.gaps_after.get(b, [])
        if mine and (not theirs or whose < len(mine) / (len(mine) + _OWN_GAP_STRENGTH)):
            pool: list[int] | npt.NDArray[np.int64] = mine
        else:
            pool = theirs or self._all_gaps
        return int(pool[int(which * len(pool))])
