"""How a grid of runs shows itself."""

from typing import TYPE_CHECKING

from edgebehave_cli.console import note
from edgebehave_cli.progress_bar import ProgressBar

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.scaling.scaling import GridProgress


class GridBar(ProgressBar):
    """Context manager whose `report` takes the progress of `scale`."""

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
