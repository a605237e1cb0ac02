"""How the tuning of a language model shows itself."""

from typing import TYPE_CHECKING

from edgebehave_cli.console import note
from edgebehave_cli.progress_bar import ProgressBar

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.llm.tuning.tuning import TuningProgress


class TuningBar(ProgressBar):
    """Context manager whose `report` takes the progress of `tune_progressively`."""

    _is_scoring = False

    def report(self, progress: "TuningProgress") -> None:
        if progress.kind == "scoring":
            if not self._is_scoring:
                note(f"{progress.stage}: looking for samples that the model mispredicts")
                self.restart()
            share = progress.step / max(1, progress.num_steps)
            self.show(share, f"{progress.step} of at most {progress.num_steps} samples", "")
        if progress.kind == "start":
            note(f"{progress.stage}: {progress.message}")
            self.restart(progress.step / progress.num_steps)
        if progress.kind == "step":
            self.show(
                progress.step / progress.num_steps,
                f"{progress.stage} {progress.step}/{progress.num_steps}",
                f"loss {progress.loss:.4f}  {progress.samples_per_s:,.1f} samples/s",
            )
        if progress.kind == "validation":
            mark = "  best so far" if progress.is_best else ""
            note(
                f"{progress.stage}: epoch {progress.epoch}/{progress.num_epochs}  "
                f"loss {progress.loss:.4f}  validation {progress.validation_loss:.4f}  "
                f"{progress.samples_per_s:,.1f} samples/s{mark}"
            )
        if progress.kind == "end":
            best = progress.validation_loss
            note(f"{progress.stage}: done, best validation loss {best:.4f} nats per token")
        self._is_scoring = progress.kind == "scoring"
