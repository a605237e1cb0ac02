"""The checkpoint: a folder that every verb reads and writes; no pickle.

    config.json        the training configuration, model shape included
    vocabulary.json    names of the training part
    model.safetensors  the weights that validation chose
    lookup.safetensors the universal model tuned to the log, and its share of the answers, if there is one
    metrics.json       measurements, and the number of readings of the test part
    metrics.jsonl      losses while training: `run_log`
    training.json      data fingerprint, behavior counts, seed, versions, progress
    README.md          model card
    resume.safetensors weights, optimizer and position, in one file: while training, and afterwards if the run may be
                       extended

Each file is replaced atomically, so a killed run leaves its last complete state. JSON files and tensors are sealed
with the SHA-256 of their content. config.json has that of the vocabulary, and training.json that of config.json and,
once the run has finished, of weights and lookup: files of another run are found too. Checkpoints without hashes are
read.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.habits import KERNELS
from edgebehave.vocabulary import Vocabulary
from edgebehave_train.files import content_digest, file_digest, read_json, read_tensors, write_json, write_text
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.training.recipes import TrainConfig
from edgebehave_train.universal.own_names import LOOKUP_FILE, Lookup, read_lookup

FORMAT_VERSION = 2
RESUME_FILE = "resume.safetensors"


@dataclass(frozen=True, kw_only=True)
class DroResult:
    """The uncertainty set of a DRO objective and the worst case that training ended with.

    capacity    kappa, as given or found.
    worst_case  (V,) worst distribution over behaviors; None before the end.
    """

    capacity: float
    worst_case: list[float] | None


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The content of training.json: the log, the machine and the course of a training run.

    data_fingerprint  of the event store.
    origin            the checkpoint it began with and how; empty for a run that began with noise.
    behavior_counts   (V,) occurrences in the training part; 0 for id 0.
    attention         backend of the attention.
    versions          of python, torch and numpy.
    best_epoch        the epoch whose weights are kept, from 1; 0 = those it began with; -1 = none yet.
    validation_nll    mean -log p of the validation targets after each epoch, nats.
    validation_loss   of the objective after each epoch, nats; None where it is not defined yet.
    validation_rank   mean reciprocal rank after each epoch, if it chooses the epoch.
    generation_nll    of each generation head after each epoch, if there are heads.
    dro               of a DRO objective.
    universal         of a run from the universal model: what validation kept, the powers, and the figures.
    """

    data_fingerprint: str
    origin: dict[str, Any]
    behavior_counts: list[int]
    seed: int
    device: str
    precision: str
    attention: str
    num_parameters: int
    versions: dict[str, str]
    finished: bool
    best_epoch: int
    validation_nll: list[float]
    validation_loss: list[float | None]
    validation_rank: list[float] | None = None
    generation_nll: list[dict[str, float]] | None = None
    dro: DroResult | None = None
    universal: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Fields that are None are left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrainingRecord":
        """Raises ValueError for missing or unknown fields."""
        dro = content.get("dro")
        try:
            return cls(**{**content, "dro": dro and DroResult(**dro)})
        except TypeError as error:
            raise ValueError(f"training.json does not fit this version: {error}") from None

    @property
    def worst_case(self) -> list[float] | None:
        """The worst distribution of a finished DRO run, over behaviors or groups; else None."""
        return self.dro.worst_case if self.dro else None


@dataclass(frozen=True, kw_only=True, repr=False)
class Checkpoint:
    """A checkpoint opened for use.

    behavior_counts  (V,) int64, occurrences in the training part; 0 for id 0.
    weights_sha256   of model.safetensors; None before the end of the run, and for older checkpoints.
    lookup_sha256    likewise of lookup.safetensors; None, too, if there is none.
    """

    path: Path
    config: TrainConfig
    model_config: ModelConfig
    vocabulary: Vocabulary
    training: TrainingRecord
    weights_sha256: str | None = None
    lookup_sha256: str | None = None

    def __repr__(self) -> str:
        epochs = f"{len(self.training.validation_loss)} of {self.config.epochs} epochs"
        state = epochs if self.training.finished else f"unfinished, {epochs}"
        return f"Checkpoint({str(self.path)!r}: {self.config.objective.name}, {state})"

    @classmethod
    def open(cls, path: Path | str) -> "Checkpoint":
        """Raises ValueError if the folder is not a checkpoint, not of this version, or damaged.

        The weights are verified when they are read.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is not a checkpoint; make one with `edgebehave train`")
        content = read_json(path / "config.json", sealed_with="vocabulary_sha256")
        if content.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path} is a checkpoint of version {content.get('format_version')}, this is "
                f"version {FORMAT_VERSION}; train it again"
            )
        record = read_json(path / "training.json", sealed_with="sha256")
        hashes = record.pop("sha256", {})
        vocabulary_sha256 = content.get("vocabulary_sha256")
        if vocabulary_sha256 is not None and file_digest(path / "vocabulary.json") != vocabulary_sha256:
            raise ValueError(f"{path / 'vocabulary.json'} is damaged, or of another checkpoint")
        if hashes and hashes["config.json"] != content_digest(content):
            raise ValueError(f"{path / 'training.json'} and config.json are of two checkpoints")
        try:
            return cls(
                path=path,
                config=TrainConfig.from_json(content["train"]),
                model_config=ModelConfig.from_json(content["model"]),
                vocabulary=Vocabulary.load(path / "vocabulary.json"),
                training=TrainingRecord.from_json(record),
                weights_sha256=hashes.get("model.safetensors"),
                lookup_sha256=hashes.get(LOOKUP_FILE),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{path / 'config.json'} is damaged: {error!r}") from None

    @property
    def behavior_counts(self) -> npt.NDArray[np.int64]:
        return np.array(self.training.behavior_counts, np.int64)

    def load_model(self) -> BehaviorModel:
        """The model with its weights, and its lookup if there is one, in evaluation mode, on the CPU."""
        weights_file = self.path / "model.safetensors"
        if not weights_file.is_file():
            raise ValueError(f"{self.path} has no weights yet; finish it with `edgebehave train --resume`")
        if self.weights_sha256 is not None and file_digest(weights_file) != self.weights_sha256:
            raise ValueError(f"{weights_file} is damaged, or of another checkpoint")
        weights, _ = read_tensors(weights_file)
        model = BehaviorModel(self.model_config)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{weights_file} does not fit config.json: {error}") from None
        model.lookup = self._load_lookup()
        return model.eval()

    def _load_lookup(self) -> Lookup | None:
        file = self.path / LOOKUP_FILE
        if not self.training.finished:  # it is written at the end of a run, a moment before the run is finished
            return None
        if self.training.universal is None:
            if file.is_file():
                raise ValueError(f"{file} is of another checkpoint: this one was not trained from the universal model")
            return None
        if not file.is_file():
            raise ValueError(f"{file} is missing; train again")
        if self.lookup_sha256 is not None and file_digest(file) != self.lookup_sha256:
            raise ValueError(f"{file} is damaged, or of another checkpoint")
        return read_lookup(self.path)

    def require_log(self, store: EventStore) -> None:
        """Raises ValueError unless the store is the log that the checkpoint learned from.

        On another log, or another state of it, events of the training part could stand in the test part.
        """
        if store.fingerprint != self.training.data_fingerprint:
            raise ValueError(
                f"{self.path} was trained on another log than {store.path}; use the event store that it was trained on"
            )

    def read_metrics(self) -> dict[str, Any]:
        """Raises ValueError if they are damaged, or those of another checkpoint."""
        path = self.path / "metrics.json"
        metrics: dict[str, Any] = read_json(path, sealed_with="config_sha256") if path.is_file() else {}
        of = metrics.pop("config_sha256", None)
        if of is not None and of != content_digest(read_json(self.path / "config.json")):
            raise ValueError(f"{path} is of another checkpoint")
        return metrics

    def check(self) -> None:
        """Read every file. Raises ValueError that names the first damaged one."""
        if self.training.finished or (self.path / "model.safetensors").is_file():
            self.load_model()
        self.read_metrics()
        if (self.path / RESUME_FILE).is_file():
            read_tensors(self.path / RESUME_FILE)


def write_description(
    path: Path, config: TrainConfig, model_config: ModelConfig, vocabulary: Vocabulary, training: TrainingRecord
) -> None:
    """Write everything that is known before the first step: all files except weights and metrics."""
    path.mkdir(parents=True, exist_ok=True)
    vocabulary.save(path / "vocabulary.json")
    content = {
        "format_version": FORMAT_VERSION,
        "train": config.to_json(),
        "model": dataclasses.asdict(model_config),
        "vocabulary_sha256": file_digest(path / "vocabulary.json"),
    }
    hashes = {"config.json": content_digest(content)}
    for name in ("model.safetensors", *([LOOKUP_FILE] if training.universal else [])):
        if training.finished and (path / name).is_file():
            hashes[name] = file_digest(path / name)
    write_json(path / "training.json", {**training.to_json(), "sha256": hashes}, seal=True)
    write_text(path / "README.md", _model_card(config, model_config, training))
    write_json(path / "config.json", content, seal=True)


def _model_card(config: TrainConfig, model_config: ModelConfig, training: TrainingRecord) -> str:
    """README.md of a checkpoint, Markdown."""
    shape = f"D {model_config.width}, {model_config.num_layers} layers"
    habits = f"mixed with {len(KERNELS)} habit kernels" if config.habits else "no habits"
    if config.choose_by == "rank":
        chosen_by, best = "mean reciprocal rank", max(training.validation_rank or [], default=None)
    else:
        losses = [loss for loss in training.validation_loss if loss is not None]
        chosen_by, best = "loss, of the objective", min(losses, default=None)
    unit = " nats" if config.choose_by == "loss" else ""
    after = f"{best:.4f}{unit} after epoch {training.best_epoch}" if best else "not yet"
    split = config.split
    return f"""# Next-behavior model

BehaveGPT (arXiv 2505.17631), {shape}, {training.num_parameters:,} parameters, {habits}.

| | |
|---|---|
| predicts | {model_config.num_behaviors - 1} behaviors from {model_config.num_events - 1} events |
| query context | {config.query_context} |
| objective | {config.objective.name} |
| split | by {split.by}, {split.train:.0%} train, {split.validation:.0%} validation |
| data fingerprint | `{training.data_fingerprint}` |
| seed | {config.seed} |
| trained on | {training.device}, {training.precision} |
| validation {chosen_by} | {after} |
| finished | {"yes" if training.finished else "no; go on with `edgebehave train --resume`"} |

What was measured, and how often the test part was read, stands in `metrics.json`. The vocabulary
holds names from the log it learned from; look through `vocabulary.json` before you publish it.

A prediction is p(behavior | the next behavior happens at the time asked for). It is made for
people whose events look like those of the log; for others, measure it first.
"""
