"""How a training run shows itself."""

import math
from typing import TYPE_CHECKING

from edgebehave_cli.console import note
from edgebehave_cli.progress_bar import ProgressBar

if TYPE_CHECKING:  # the annotation must not import torch
    from edgebehave_train.training.pretraining import Progress


class TrainingProgress(ProgressBar):
    """Context manager whose `report` takes the progress of `pretrain`."""

    events_per_s = 0.0

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
            mark = "  best so far" if progress.is_best else ""
            own = progress.validation_loss
            validation = f"{progress.validation_nll:.4f}"
            validation += "" if own == progress.validation_nll else f" (objective {own:.4f})"
            if not math.isnan(progress.validation_rank):
                validation += f"  rank {progress.validation_rank:.4f}"
            heads = "".join(f"  {name} {nll:.3f}" for name, nll in progress.head_nll.items())
            note(
                f"epoch {progress.epoch}/{progress.num_epochs}  loss {progress.loss:.4f}  "
                f"validation {validation}{heads}  "
                f"{progress.events_per_s:,.0f} events/s{mark}"
            )
        if progress.kind == "end":
            if math.isnan(progress.validation_rank):
                note(f"done: best validation loss {progress.validation_loss:.4f} nats")
            else:
                note(f"done: best mean reciprocal rank {progress.validation_rank:.4f}")
