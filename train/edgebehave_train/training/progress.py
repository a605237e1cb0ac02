"""Progress of a training run: its reports, and the clock of its time."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from edgebehave_train.loading.loader import Step


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A report of a training run.

    kind             "start", "step", "validation" (once per epoch), "universal" (a step of tuning the universal
                     model), "note" or "end".
    epoch, step      done so far; num_epochs, num_steps planned.
    loss             mean training loss since the last report, nats.
    events_per_s     training events per second of training time, this run, of all processes.
    waiting          share of the training time in which it waited for batches.
    validation_nll   mean -log p of the validation targets, nats; "validation" only.
    validation_loss  loss of the objective on them, equal to validation_nll for ce; "validation", and the lowest at the
                     "end" if it chooses the weights.
    validation_rank  mean reciprocal rank of the targets if it chooses the weights, else NaN; "validation", and the
                     highest at the "end".
    head_nll         -log p of each generation head; "validation" only, empty without heads.
    is_best          the epoch is the best so far, by `choose_by`.
    message          one line for people.
    share            of the steps of tuning the universal model that are done; "universal" only.
    """

    kind: Literal["start", "step", "validation", "universal", "note", "end"]
    epoch: int
    step: int
    num_epochs: int
    num_steps: int
    loss: float = math.nan
    events_per_s: float = math.nan
    waiting: float = math.nan
    validation_nll: float = math.nan
    validation_loss: float = math.nan
    validation_rank: float = math.nan
    head_nll: dict[str, float] = field(default_factory=dict)
    is_best: bool = False
    message: str = ""
    share: float = math.nan


class Clock:
    """Training time of a run since it began or went on: a context manager of what belongs to it.

    num_events  of all ranks, whose time it was.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what was measured so far."""
        self.seconds = self.waited_s = 0.0
        self.num_events = 0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.monotonic() - self._began

    def waiting_for(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The steps; the time until each is there is waiting."""
        while True:
            before = self.seconds
            with self:
                step = next(steps, None)
            self.waited_s += self.seconds - before
            if step is None:
                return
            yield step

    @property
    def events_per_s(self) -> float:
        return self.num_events / max(self.seconds, 1e-9)

    @property
    def waiting(self) -> float:
        """Share of the time."""
        return self.waited_s / max(self.seconds, 1e-9)
