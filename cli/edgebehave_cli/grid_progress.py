"""How a grid of runs shows itself: one bar on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgebehave_cli.console import is_terminal, note

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.scaling import GridProgress

_LINE_EVERY_S = 30.0


class GridBar:
    """Context manager whose `report` takes the progress of `scale`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._started_at = self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        if is_terminal():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.fields[run]}"),
                BarColumn(),
                TextColumn("{task.percentage:.0f} %  {task.fields[left]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=1.0, run="", left="")
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

    def report(self, progress: "GridProgress") -> None:
        left = self._time_left(progress)
        if progress.message:
            note(progress.message)
        run = f"run {progress.run}/{progress.num_runs}"
        if self._bar:
            self._bar.update(self._task, completed=progress.share_done, run=run, left=left)
        elif progress.kind == "step" and time.monotonic() - self._line_at > _LINE_EVERY_S:
            self._line_at = time.monotonic()
            note(f"{run}  {progress.share_done:.0%} of the grid  loss {progress.loss:.4f}  {left}")

    def _time_left(self, progress: "GridProgress") -> str:
        """From the share of the work done by this command; early stops make it an upper bound."""
        done = progress.share_done - progress.share_kept
        if done <= 0:
            return ""
        elapsed_s = time.monotonic() - self._started_at
        left_s = elapsed_s / done * (1 - progress.share_done)
        return f"about {left_s / 60:.0f} min left" if left_s > 90 else f"about {left_s:.0f} s left"
