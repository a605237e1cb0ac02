"""Pretraining: from an event store to a checkpoint, resumable to the bit."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from edgebehave_train.files import names_in, one_writer, require_writable
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint
from edgebehave_train.training.hardware import choose_device, choose_threads, keep_buffers_in_heap
from edgebehave_train.training.objectives import require_objective
from edgebehave_train.training.progress import Progress
from edgebehave_train.training.ranks import LostProcessError, Parallel, ranks_of_run
from edgebehave_train.training.recipes import TrainConfig
from edgebehave_train.training.run_log import METRICS_FILE, require_loggers
from edgebehave_train.training.training_run import Start, TrainingRun
from edgebehave_train.universal.own_names import LOOKUP_FILE

_FILES = {
    *("config.json", "vocabulary.json", "training.json", "README.md"),
    *("model.safetensors", RESUME_FILE, LOOKUP_FILE, METRICS_FILE),
}
"""Every file that a run writes before it is finished."""


def pretrain(
    store: EventStore,
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    start: Start | None = None,
    parallel: Parallel = "auto",
    micro_batch_events: int | None = None,
    loggers: Sequence[str] = (),
    extendable: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Checkpoint:
    """Train a model on the training part of a store and write a checkpoint.

    Started by torchrun, every process calls this; rank 0 alone writes and reports.

    start       the start of the run, if not random weights; the same again for a resumed run.
    resume      continue the run in `out`; its configuration and log must be the same. A finished run with fewer epochs
                is extended, if it was extendable.
    parallel    "ddp": each process has the whole model; "fsdp": it is split over them; "auto": by its size.
    micro_batch_events
                gradients are accumulated over parts of a step with so many events per process, to save memory; None =
                one part.
    loggers     names of loggers beside metrics.jsonl (`run_log`).
    extendable  keep the state of the optimizer when the run is finished.
    Raises ValueError if `out` holds another run or another process is writing it, no objective or logger has the name
    in the configuration, or the log has nothing to train on; LostProcessError if another process of the run ends.
    """
    require_objective(config.objective)
    require_loggers(loggers)
    keep_buffers_in_heap()
    choose_threads()
    with ranks_of_run(choose_device(device)) as ranks, one_writer(out) if ranks.is_first else nullcontext():
        run = TrainingRun(
            store, config, out, ranks, start or Start(origin={}), parallel, micro_batch_events, extendable
        )
        if resume:
            run.load()
        elif ranks.is_first:
            require_writable(
                out,
                "a checkpoint",
                lambda out: set() if (out / "config.json").exists() else names_in(out),
                instead="use --resume",
            )
            try:
                run.describe()
            except OSError:
                _clear_begun(out)
                raise
        try:
            run.train(on_progress if ranks.is_first else lambda progress: None, loggers)
        except LostProcessError:
            raise
        except OSError as error:
            if not (out / RESUME_FILE).exists():
                if not resume and ranks.is_first:
                    _clear_begun(out)
                raise
            raise OSError(f"{error}; make room, and continue with --resume") from error
    return Checkpoint.open(out)


def _clear_begun(out: Path) -> None:
    """Remove the files of a run that failed before its first save, and the folder if nothing else is in it."""
    with suppress(OSError):
        for name in names_in(out) & _FILES:
            (out / name).unlink()
        out.rmdir()


def finished_run(
    store: EventStore,
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Checkpoint, bool]:
    """The finished checkpoint in a folder, and whether it was finished before this call.

    A finished run is kept: the caller checks its configuration and its log. A killed run is resumed; one that was
    killed before its description was complete begins again. Raises ValueError as `pretrain` does, and if the folder
    holds anything else.
    """

    def foreign(folder: Path) -> set[str]:
        return {name for name in names_in(folder) if name.removesuffix(".partial") not in _FILES}

    begun = (folder / "config.json").exists()
    if begun:
        checkpoint = Checkpoint.open(folder)
        if checkpoint.training.finished:
            return checkpoint, True
    elif folder.exists():
        require_writable(folder, "a run that was begun", foreign)
        shutil.rmtree(folder)
    trained = pretrain(store, config, folder, resume=begun, device=device, on_progress=on_progress)
    return trained, False
