"""Progress of a long command: a bar on a terminal, a line every 15 seconds elsewhere."""

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgebehave_cli.console import is_first_process, is_terminal, note

if TYPE_CHECKING:  # the annotations must not import torch
    from edgebehave_train.llm.tuning.tuning_loop import TuningProgress
    from edgebehave_train.scaling.scaling import GridProgress
    from edgebehave_train.training.pretraining import Progress
    from edgebehave_train.universal.pretraining import UniversalProgress

_LINE_EVERY_S = 15.0


class ProgressBar:
    """Context manager of one bar, which several runs may fill one after the other.

    go_on         how to continue after an interruption; printed when one ends the command.
    share_before  of the work, in [0, 1], that was done before the time was measured.
    """

    def __init__(self, go_on: str = "") -> None:
        self._go_on = go_on
        self._bar: Any = None
        self._task: Any = None
        self.restart()

    def __enter__(self) -> Self:
        if is_terminal() and is_first_process():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.fields[before]}"),
                BarColumn(),
                TextColumn("{task.fields[after]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=1.0, before="", after="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self._go_on and isinstance(error, KeyboardInterrupt):
            note(f"interrupted; {self._go_on}")

    def restart(self, share_before: float = 0.0) -> None:
        """Begin to measure the time."""
        self._started_at = self._line_at = time.monotonic()
        self.share_before = share_before

    def show_next(self) -> None:
        """Let the next `show` print a line however short the time since the last one."""
        self._line_at = -math.inf

    def show(self, share: float, before: str, after: str) -> None:
        """Show how much of the work is done.

        share   of the work that is done, in [0, 1].
        before  and after: text on both sides of the bar; the time that is left follows.
        """
        if not self._bar and time.monotonic() - self._line_at < _LINE_EVERY_S:
            return
        after = "  ".join(filter(None, (after, self._time_left(share))))
        if self._bar:
            self._bar.update(self._task, completed=share, before=before, after=after)
        else:
            self._line_at = time.monotonic()
            note(f"{before}  {after}")

    def _time_left(self, share: float) -> str:
        """An upper bound where a run may stop early."""
        done = share - self.share_before
        if done <= 0:
            return ""
        left_s = (time.monotonic() - self._started_at) / done * (1 - share)
        return f"about {left_s / 60:.0f} min left" if left_s > 90 else f"about {left_s:.0f} s left"


class TrainingBar(ProgressBar):
    """A bar whose `report` takes the progress of `pretrain`."""

    events_per_s = 0.0
    _is_tuning = False

    def report(self, progress: "Progress") -> None:
        if progress.kind == "start":
            note(progress.message)
            self.restart(progress.step / progress.num_steps)
        if progress.kind == "step":
            self.events_per_s = progress.events_per_s
            self.show(
                progress.step / progress.num_steps,
                f"step {progress.step}/{progress.num_steps}",
                f"loss {progress.loss:.4f}  {progress.events_per_s:,.0f} events/s",
            )
        if progress.kind == "validation":
            own = progress.validation_loss
            validation = f"{progress.validation_nll:.4f}"
            validation += "" if own == progress.validation_nll else f" (objective {own:.4f})"
            if not math.isnan(progress.validation_rank):
                validation += f"  rank {progress.validation_rank:.4f}"
            heads = "".join(f"  {name} {nll:.3f}" for name, nll in progress.head_nll.items())
            waiting = "" if math.isnan(progress.waiting) else f", {progress.waiting:.1%} waiting for data"
            note(
                f"epoch {progress.epoch}/{progress.num_epochs}  loss {progress.loss:.4f}  "
                f"validation {validation}{heads}  "
                f"{progress.events_per_s:,.0f} events/s{waiting}"
                f"{'  best so far' if progress.is_best else ''}"
            )
        if progress.kind == "note":
            note(progress.message)
        if progress.kind == "universal":
            if not self._is_tuning:
                note("tuning the universal model to the log")
                self.restart()
                self._is_tuning = True
            self.show(progress.share, progress.message, f"loss {progress.loss:.4f}")
        if progress.kind == "end":
            if math.isnan(progress.validation_rank):
                note(f"done: best validation loss {progress.validation_loss:.4f} nats")
            else:
                note(f"done: best mean reciprocal rank {progress.validation_rank:.4f}")


class GridBar(ProgressBar):
    """A bar whose `report` takes the progress of `scale`."""

    def report(self, progress: "GridProgress") -> None:
        self.share_before = progress.share_kept  # grows as the grid comes to runs that it keeps
        if progress.message:
            note(progress.message)
        if progress.kind == "step":
            self.show(
                progress.share_done,
                f"run {progress.run}/{progress.num_runs}",
                f"{progress.share_done:.0%} of the grid  loss {progress.loss:.4f}",
            )


class UniversalBar(ProgressBar):
    """A bar whose `report` takes the progress of `pretrain_universal`; the first step is shown at once.

    loss  mean of the latest steps, in nats; NaN before the first one.
    """

    loss = math.nan

    def report(self, progress: "UniversalProgress") -> None:
        if math.isnan(self.loss):
            self.share_before = (progress.step - 1) / progress.steps
            self._line_at = -math.inf
        self.loss = progress.loss
        text = f"step {progress.step}/{progress.steps}", f"loss {progress.loss:.4f}"
        self.show(progress.step / progress.steps, *text)


class TuningBar(ProgressBar):
    """A bar whose `report` takes the progress of `tune_progressively`."""

    _last_kind = ""

    def report(self, progress: "TuningProgress") -> None:
        begins = progress.kind != self._last_kind
        share = progress.step / max(1, progress.num_steps)
        speed = f"{progress.samples_per_s:,.1f} samples/s"
        if progress.kind == "scoring":
            if begins:
                note(f"{progress.stage}: looking for samples that the model mispredicts")
                self._restart(share)
            self.show(share, f"{progress.step} of at most {progress.num_steps} samples", speed)
        if progress.kind == "start":
            note(f"{progress.stage}: {progress.message}")
            self._restart(share)
        if progress.kind == "step":
            if self._last_kind == "validation":
                self._restart(share)  # its time is not that of steps
            self.show(
                share, f"{progress.stage} {progress.step}/{progress.num_steps}", f"loss {progress.loss:.4f}  {speed}"
            )
        if progress.kind == "validating":
            if begins:
                self._restart(0.0)
            self.show(share, f"{progress.stage} validates {progress.step}/{progress.num_steps}", speed)
        if progress.kind == "validation":
            note(
                f"{progress.stage}: epoch {progress.epoch}/{progress.num_epochs}  "
                f"loss {progress.loss:.4f}  validation {progress.validation_loss:.4f}  "
                f"{speed}{'  best so far' if progress.is_best else ''}"
            )
        if progress.kind == "end":
            note(f"{progress.stage}: done, best validation loss {progress.validation_loss:.4f} nats per token")
        self._last_kind = progress.kind

    def _restart(self, share_before: float) -> None:
        self.restart(share_before)
        self.show_next()


class QuestionsBar(ProgressBar):
    """A bar for rows of questions, one row after the other, each with its speed and the time that it takes yet."""

    _row, _begun_at = "", 0.0

    def report(self, row: str, done: int, total: int) -> None:
        if row != self._row:
            self._row, self._begun_at = row, time.monotonic()
            self.restart()
            self.show_next()
        seconds = time.monotonic() - self._begun_at
        speed = f"  {done / seconds:,.1f} samples/s" if seconds and done else ""
        self.show(done / max(1, total), row, f"{done} of {total} samples{speed}")
