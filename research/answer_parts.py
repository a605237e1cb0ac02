"""Probabilities of a checkpoint: those on which its answers are tuned, and those on which they are measured."""

import argparse
from pathlib import Path

from edgebehave_train.calibration.answer_tuning import PartProbs, part_probs
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.metrics_file import record_measurement
from edgebehave_train.training.checkpoint import Checkpoint
from verbs import commit


class AnswerParts:
    """The checkpoint of a command line and its probabilities.

    tuned     of the validation part, on which answers are tuned, as `edgebehave export` does it.
    measured  of the test part, whose reading is noted in the checkpoint. With --validation the users of the validation
              part are halved instead, and nothing is noted.
    """

    def __init__(self, description: str | None) -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("checkpoint", type=Path)
        parser.add_argument("--store", type=Path, required=True)
        parser.add_argument("--validation", action="store_true", help="do not read the test part")
        args = parser.parse_args()
        self.store, self.checkpoint = EventStore.open(args.store), Checkpoint.open(args.checkpoint)
        validation = part_probs(self.store, self.checkpoint, "validation")
        self.tuned: PartProbs = validation
        if args.validation:
            is_even = validation.user_T % 2 == 0
            self.tuned, self.measured = validation.take(is_even), validation.take(~is_even)
        else:
            self.measured = part_probs(self.store, self.checkpoint, "test")
            record_measurement(self.checkpoint.path, self.store, "test")

    def source(self) -> str:
        """Checkpoint, seed, commit and data, for the line below a table."""
        return (
            f"{self.checkpoint.path.name}, seed {self.checkpoint.config.seed}, commit {commit()}, data fingerprint "
            f"`{self.store.fingerprint[:16]}`"
        )
