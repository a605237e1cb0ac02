"""How a training run shows itself: a bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgebehave_cli.console import is_terminal, note

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.pretraining import Progress

_LINE_EVERY_S = 15.0


class TrainingProgress:
    """Context manager whose `report` takes the progress of `pretrain`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._line_at = time.monotonic()
        self._started_at = time.monotonic()
        self._started_step: int | None = None
        self.events_per_s = 0.0

    def __enter__(self) -> Self:
        if is_terminal():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} events/s"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def report(self, progress: "Progress") -> None:
        if progress.kind == "start":
            note(progress.message)
            self._started_step = progress.step
            self._started_at = time.monotonic()
        if progress.kind == "step":
            self.events_per_s = progress.events_per_s
            self._show_step(progress)
        if progress.kind == "validation":
            mark = "  best so far" if progress.is_best else ""
            own = progress.validation_loss
            validation = f"{progress.validation_nll:.4f}"
            validation += "" if own == progress.validation_nll else f" (objective {own:.4f})"
            heads = "".join(f"  {name} {nll:.3f}" for name, nll in progress.head_nll.items())
            note(
                f"epoch {progress.epoch}/{progress.num_epochs}  loss {progress.loss:.4f}  "
                f"validation {validation}{heads}  "
                f"{progress.events_per_s:,.0f} events/s{mark}"
            )
        if progress.kind == "end":
            note(f"done: best validation loss {progress.validation_loss:.4f} nats")

    def _show_step(self, progress: "Progress") -> None:
        fields = {
            "epoch": f"{progress.epoch + 1}/{progress.num_epochs}",
            "loss": progress.loss,
            "speed": progress.events_per_s,
        }
        if self._bar:
            if self._task is None:
                self._task = self._bar.add_task("", total=progress.num_steps, **fields)
            self._bar.update(self._task, completed=progress.step, **fields)
        elif time.monotonic() - self._line_at > _LINE_EVERY_S:
            self._line_at = time.monotonic()
            done = progress.step - (self._started_step or 0)
            left_s = (
                (self._line_at - self._started_at) / done * (progress.num_steps - progress.step)
            )
            note(
                f"step {progress.step}/{progress.num_steps}  loss {progress.loss:.4f}  "
                f"{progress.events_per_s:,.0f} events/s  about {left_s / 60:.0f} min left"
            )
