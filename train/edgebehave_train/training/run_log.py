"""The log of a run: `metrics.jsonl`, a line for every few steps and every validation, and loggers beside it.

    {"kind": "step", "epoch": 0, "step": 10, "loss": 2.31, "learning_rate": 0.0002, "events_per_s": 9800.0,
     "waiting": 0.02, "dro_capacity": 1.0}
    {"kind": "validation", "epoch": 1, "step": 131, "loss": 1.97, "events_per_s": 9900.0, "waiting": 0.02,
     "validation_nll": 1.81, "validation_loss": 2.07, "is_best": true}

epoch counts the finished ones. loss is the mean of the steps since the line before, on a line of a validation of those
of its epoch, in nats; waiting the share of the training time that was spent on making batches; dro_capacity (of a DRO
objective) that of the set in which the weights moved: 1 before the end of the warm start. Numbers that are not defined
are null. A resumed run drops the lines after its last save and writes them again: no step is missing or twice.

Packages add loggers by the entry-point group `edgebehave.run_loggers`: a function of the folder of the run, its
TrainConfig and the number of steps done, which returns a `RunLogger`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgebehave_train.extensions import RUN_LOGGER_GROUP, extension_names, load_extension
from edgebehave_train.files import write_text
from edgebehave_train.training.recipes import TrainConfig

METRICS_FILE = "metrics.jsonl"
STEPS_PER_LINE = 10
LOGGERS = ("tensorboard",)
"""The loggers of this file; `extensions.py` tells how a package adds its own."""


class RunLogger(Protocol):
    """A receiver of the lines of a run."""

    def log(self, line: Mapping[str, Any]) -> None:
        """Take a line as it stands in metrics.jsonl, in the order of the steps."""

    def close(self) -> None:
        """The run ends, or is interrupted."""


MakeLogger = Callable[[Path, TrainConfig, int], RunLogger]


class RunLog:
    """metrics.jsonl in the folder of a run, and its loggers."""

    def __init__(self, out: Path, config: TrainConfig, names: Sequence[str], position: tuple[int, int]) -> None:
        """position: epochs and steps that the run has done; later lines are dropped. Raises as `require_loggers`."""
        self._file = out / METRICS_FILE
        epoch, step = position
        kept = [line for line in read_lines(self._file) if line["step"] <= step and line["epoch"] <= epoch]
        write_text(self._file, "".join(json.dumps(line) + "\n" for line in kept))
        self._loggers = [make(out, config, step) for make in require_loggers(names)]

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line; numbers that are not finite become null."""
        line = {name: None if _is_undefined(value) else value for name, value in line.items()}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for logger in self._loggers:
            logger.log(line)

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none if it is not there. What a killed process left of a last line is left out."""
    if not file.exists():
        return []
    whole = [line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def require_loggers(names: Sequence[str]) -> list[MakeLogger]:
    """What makes the loggers. Raises ValueError for a name that neither LOGGERS nor an installed package has, and for
    a logger whose package is missing.
    """
    added = extension_names(RUN_LOGGER_GROUP, LOGGERS)
    makers: list[MakeLogger] = []
    for name in names:
        if name not in (*LOGGERS, *added):
            raise ValueError(f"log must be one of {', '.join((*LOGGERS, *added))}, got {name!r}")
        makers.append(load_extension(RUN_LOGGER_GROUP, name) if name in added else _tensorboard())
    return makers


def _tensorboard() -> MakeLogger:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard is not installed; pip install tensorboard, or leave --log out") from None

    class TensorBoard:
        """Curves of a run in its folder `tensorboard`."""

        def __init__(self, out: Path, config: TrainConfig, step: int) -> None:
            self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

        def log(self, line: Mapping[str, Any]) -> None:
            for name, value in line.items():
                if isinstance(value, int | float) and name not in ("epoch", "step"):
                    self._writer.add_scalar(f"{line['kind']}/{name}", float(value), line["step"])

        def close(self) -> None:
            self._writer.close()

    return TensorBoard


def _is_undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
