"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

import time
from types import TracebackType
from typing import Any, Self

from edgebehave_cli.console import is_terminal, note

_LINE_EVERY_S = 15.0


class ProgressBar:
    """Context manager of one bar, which several runs may fill one after the other.

    share_before  of the work, in [0, 1], that was done before the time was measured.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self.restart()

    def __enter__(self) -> Self:
        if is_terminal():
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def restart(self, share_before: float = 0.0) -> None:
        """Begin to measure the time."""
        self._started_at = self._line_at = time.monotonic()
        self.share_before = share_before

    def show(self, share: float, before: str, after: str) -> None:
        """Say how far it is.

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
