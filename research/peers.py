"""Peers: sequence recommenders of RecTools, trained and measured on the same targets as our model.

    sasrec  self-attention over the last behaviors (Kang & McAuley 2018), here with the softmax over
            all behaviors; it knows no time.
    hstu    the same with HSTU layers (Zhai et al. 2024): its relative bias knows the time of
            each event, and of the moment to predict for.

The models and their training steps are RecTools' own. Three things are not, because its protocol
is another one: it trains on the last window of each user, recommends once per user, and leaves
out what a user has had.

    training    users are cut into windows, each of which stands for a user, so that every event
                of the training part is a target once per epoch; where the cuts fall changes from
                epoch to epoch.
    asking      every target of a part is asked for, from the window of behaviors just before
                it, validation and test events included as they pass; repeats are allowed.
    stopping    the weights of the epoch with the best mean reciprocal rank on validation targets.

A peer reads behaviors alone: events without one, locations, and behaviors that the training part does
not hold are not there for it. Needs the extra `peers`, whose numpy is older than ours before
Python 3.13, so give it an environment of its own.
"""

# M behaviors of a log, R targets at a time, L window, V behaviors, id 0 included

import contextlib
import copy
import dataclasses
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgebehave.vocabulary import UNKNOWN
from edgebehave_train.files import read_json, read_tensors, write_json, write_tensors
from edgebehave_train.logs.behavior_log import NO_TIME, BehaviorLog, Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log, training_vocabulary
from edgebehave_train.logs.split import TRAIN, VALIDATION, SplitConfig, part_of_event
from edgebehave_train.metrics.prediction_metrics import reciprocal_rank
from edgebehave_train.metrics.ranking import Predictions, rank_in_blocks

try:
    import pandas as pd
    from pytorch_lightning import Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import HSTUModel, SASRecModel
except ImportError as error:
    raise ImportError(
        f"peers need RecTools ({error}); make an environment for them with "
        "pip install 'edgebehave[cpu,train,cli,peers]'"
    ) from error

FORMAT_VERSION = 1
_ASKED_AT_ONCE = 256
_STOPPING_TARGETS = 1000
"""Validation targets that choose the epoch, evenly spread: all of them would take longer than
the epoch itself."""


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """Settings that, with the log, determine the training of a peer.

    kind              sasrec or hstu.
    width, num_layers, num_heads  shape of the network.
    window            L, behaviors it looks back on.
    dropout           in [0, 1).
    loss              softmax over all behaviors, or BCE or gBCE against drawn ones.
    num_negatives     behaviors drawn per target, BCE and gBCE only.
    temperature       what scores are divided by before the softmax. The scores of sasrec are dot
                      products; those of hstu are cosines and need a low one.
    learning_rate     of Adam, constant.
    batch_windows     windows per optimizer step.
    epochs            passes over the training part, at most.
    patience          epochs without a better validation rank before stopping.
    seed              of everything random.
    split             of the log, as in TrainConfig.
    """

    kind: Literal["sasrec", "hstu"]
    width: int = 64
    num_layers: int = 2
    num_heads: int = 2
    window: int = 90
    dropout: float = 0.2
    loss: Literal["softmax", "BCE", "gBCE"] = "softmax"
    num_negatives: int = 64
    temperature: float = 1.0
    learning_rate: float = 1e-3
    batch_windows: int = 8
    epochs: int = 40
    patience: int = 5
    seed: int = 0
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)

    def __post_init__(self) -> None:
        if self.kind not in ("sasrec", "hstu"):
            raise ValueError(f"kind must be sasrec or hstu, got {self.kind!r}")
        if self.loss not in ("softmax", "BCE", "gBCE"):
            raise ValueError(f"loss must be softmax, BCE or gBCE, got {self.loss!r}")
        if self.width % self.num_heads:
            raise ValueError(f"width must be divisible by num_heads, got {self.width} and {self.num_heads}")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "PeerConfig":
        return cls(**{**content, "split": SplitConfig(**content["split"])})


class Peer:
    """A RecTools model over the behaviors of a log.

    training  what is known of its training, for JSON; empty until it is trained.
    """

    def __init__(self, store: EventStore, config: PeerConfig) -> None:
        """An untrained peer for the training part of a store."""
        self.store, self.config = store, config
        self.part = part_of_event(store, config.split)
        vocabulary = training_vocabulary(store, self.part == TRAIN)
        self.behaviors = map_log(store, vocabulary).behavior_log(self.part == TRAIN)
        self.training: dict[str, Any] = {}
        torch.manual_seed(config.seed)
        with _quiet():
            self.model = _untrained(config)
            # No epoch: RecTools builds its network when it first sees data.
            self.model.fit_partial(self._windows(0), min_epochs=0, max_epochs=0)
        items = self.model.data_preparator.item_id_map
        self._item_of_behavior = np.zeros(vocabulary.num_behaviors, np.int64)
        for behavior, item in zip(items.external_ids, items.internal_ids, strict=True):
            if behavior != "PAD":
                self._item_of_behavior[behavior] = item

    @classmethod
    def open(cls, store: EventStore, path: Path) -> "Peer":
        """A trained peer. Raises ValueError if the folder is none, or of another log."""
        if not (path / "peer.json").is_file():
            raise ValueError(f"{path} holds no trained peer")
        content = read_json(path / "peer.json")
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"{path} is of another version; train the peer again")
        if content["training"]["data_fingerprint"] != store.fingerprint:
            raise ValueError(f"{path} was trained on another log than {store.path}")
        peer = cls(store, PeerConfig.from_json(content["config"]))
        peer.training = content["training"]
        peer.model.torch_model.load_state_dict(read_tensors(path / "model.safetensors")[0])
        return peer

    def save(self, path: Path) -> None:
        """Write weights and configuration; peer.json comes last and says that all is there."""
        path.mkdir(parents=True, exist_ok=True)
        write_tensors(path / "model.safetensors", self.model.torch_model.state_dict())
        content = {
            "format_version": FORMAT_VERSION,
            "config": dataclasses.asdict(self.config),
            "training": self.training,
        }
        write_json(path / "peer.json", content)

    def train(self, on_epoch: Callable[[str], None] = lambda line: None) -> None:
        """Train until the validation rank no longer rises; keep the best epoch's weights.

        on_epoch  receives one line for people per epoch.
        """
        config, started = self.config, time.monotonic()
        targets = self.behaviors.targets(self.part == VALIDATION)
        if not len(targets):
            raise ValueError("the validation part holds nothing to predict; it chooses the epoch")
        every = -(-len(targets) // _STOPPING_TARGETS)
        targets = targets.take(np.arange(0, len(targets), every))
        torch.manual_seed(config.seed)
        ranks: list[float] = []
        best: dict[str, Tensor] = {}
        items = self.model.data_preparator.item_id_map.external_ids
        while len(ranks) < config.epochs and len(ranks) - _first_best(ranks) <= config.patience:
            with _quiet():
                self.model.fit_partial(self._windows(len(ranks)), min_epochs=1, max_epochs=1)
            same = self.model.data_preparator.item_id_map.external_ids
            assert np.array_equal(same, items), "other cuts must not number the behaviors anew"
            ranks.append(float(reciprocal_rank(self.predict(self.behaviors, targets)).mean()))
            if _first_best(ranks) == len(ranks):
                best = copy.deepcopy(self.model.torch_model.state_dict())
            on_epoch(f"epoch {len(ranks)}/{config.epochs}  validation MRR {ranks[-1]:.4f}")
        self.model.torch_model.load_state_dict(best)
        self.training = {
            "data_fingerprint": self.store.fingerprint,
            "validation_mrr": ranks,
            "best_epoch": _first_best(ranks),
            "num_parameters": sum(p.numel() for p in self.model.torch_model.parameters()),
            "seconds": round(time.monotonic() - started, 1),
        }

    def predict(self, behaviors: BehaviorLog, targets: Targets) -> Predictions:
        """Predictions of the peer for targets, each asked on time, as of a baseline.

        behaviors  of the same log, in the ids of its training vocabulary.
        """
        return rank_in_blocks(targets, self.scores(behaviors, targets))

    @torch.inference_mode()
    def scores(self, behaviors: BehaviorLog, targets: Targets) -> Iterator[tuple[slice, npt.NDArray[np.floating]]]:
        """Scores of all behaviors for every target, block by block.

        Yields  a slice of the targets and their (R, V) float32 scores; column 0 is -inf. Without a
                known behavior in its past RecTools recommends nothing: the most popular stand in.
        """
        network = self.model.torch_model.eval()
        item_embeddings = network.item_model.get_all_embeddings()
        popularity_V = behaviors.train_counts.astype(np.float32)
        if self.config.kind == "hstu" and (behaviors.query_time_s[targets.row] == NO_TIME).any():
            raise ValueError("hstu needs the moment to predict for, and some targets have none")
        before = _Before.of(behaviors)
        for start in range(0, len(targets), _ASKED_AT_ONCE):
            which = slice(start, min(start + _ASKED_AT_ONCE, len(targets)))
            behavior_RL, time_s_RL1 = before.windows(targets.row[which], targets.user[which], self.config.window)
            batch = {
                "x": torch.from_numpy(self._item_of_behavior[behavior_RL]),
                "unix_ts": torch.from_numpy(time_s_RL1),
            }
            state_R1D = network.encode_sessions(batch, item_embeddings)[:, -1:]
            score_RI = network.similarity_module(state_R1D, item_embeddings)[:, 0].numpy()
            score_RV = score_RI[:, self._item_of_behavior]
            score_RV[:, self._item_of_behavior == 0] = -np.inf  # id 0, and what no window held
            score_RV[~behavior_RL.any(1)] = popularity_V
            yield which, score_RV

    def _windows(self, epoch: int) -> Dataset:
        """The training part as RecTools wants it, each window a user of its own."""
        log = self.behaviors
        rng = np.random.default_rng([self.config.seed, epoch])
        known = log.is_train & (log.behavior > 0) & (log.behavior < log.num_behaviors)
        rows, window = [], []
        for user in range(log.num_users):
            first, stop = log.user_start[user], log.user_start[user + 1]
            own = first + np.flatnonzero(known[first:stop])
            for cut in window_cuts(len(own), self.config.window, rng):
                rows.append(own[cut])
                window.append(np.full(len(rows[-1]), len(rows)))
        if not rows:
            raise ValueError("no user of the training part has two behaviors; nothing to train on")
        row = np.concatenate(rows)
        return Dataset.construct(
            pd.DataFrame(
                {
                    Columns.User: np.concatenate(window),
                    Columns.Item: log.behavior[row],
                    Columns.Weight: 1.0,
                    Columns.Datetime: pd.to_datetime(log.time_s[row], unit="s"),
                }
            )
        )


@dataclass(frozen=True, kw_only=True)
class _Before:
    """The known behaviors of all users, one after the other, and where those before a row end.

    behavior, time_s  of the known behaviors, and an unknown one behind the last.
    end               (M + 1,) how many known behaviors lie before each row of the log.
    """

    behavior: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    log: BehaviorLog

    @classmethod
    def of(cls, log: BehaviorLog) -> "_Before":
        known = (log.behavior > 0) & (log.behavior < log.num_behaviors)
        return cls(
            behavior=np.append(log.behavior[known], UNKNOWN),
            time_s=np.append(log.time_s[known], 0),
            end=np.append(0, known.cumsum()),
            log=log,
        )

    def windows(
        self, row_R: npt.NDArray[np.int64], user_R: npt.NDArray[np.int64], window: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The last L behaviors before each row, oldest first, 0 where there are fewer.

        Returns  (R, L) behaviors; (R, L + 1) seconds of each and of the query. As in RecTools, the
                 positions without a behavior have the time of the oldest.
        """
        index_RL = self.end[row_R][:, None] + np.arange(-window, 0)
        first_R1 = self.end[self.log.user_start[user_R]][:, None]
        present_RL = np.maximum(index_RL, first_R1)
        behavior_RL = np.where(index_RL >= first_R1, self.behavior[present_RL], UNKNOWN)
        time_s_RL = self.time_s[present_RL]
        return behavior_RL, np.append(time_s_RL, self.log.query_time_s[row_R][:, None], 1)


def window_cuts(num_behaviors: int, window: int, rng: np.random.Generator) -> list[slice]:
    """Windows that together predict every behavior of a user but the first exactly once.

    The first window predicts 1 to L behaviors, at random, and all others but the last L. Each holds
    the behavior before its first target: two neighbors share one.
    """
    if num_behaviors < 2:
        return []
    inner = range(int(rng.integers(1, window + 1)), num_behaviors - 1, window)
    borders = [0, *inner, num_behaviors - 1]
    return [slice(first, last + 1) for first, last in pairwise(borders)]


def train_peer(
    store: EventStore,
    config: PeerConfig,
    out: Path,
    on_epoch: Callable[[str], None] = lambda line: None,
) -> Peer:
    """A trained peer: the one in `out` if it is there, else a new one, which is kept there.

    Raises ValueError if `out` holds a peer of another configuration or log.
    """
    if (out / "peer.json").is_file():
        peer = Peer.open(store, out)
        if peer.config != config:
            raise ValueError(f"{out} holds a peer of another configuration; name another folder")
        return peer
    peer = Peer(store, config)
    peer.train(on_epoch)
    peer.save(out)
    return peer


def _first_best(ranks: list[float]) -> int:
    """The epoch of the highest rank, counted from 1; 0 before the first."""
    return int(np.argmax(ranks)) + 1 if ranks else 0


def _untrained(config: PeerConfig) -> SASRecModel | HSTUModel:
    model_type = SASRecModel if config.kind == "sasrec" else HSTUModel
    return model_type(
        n_factors=config.width,
        n_blocks=config.num_layers,
        n_heads=config.num_heads,
        session_max_len=config.window,
        dropout_rate=config.dropout,
        loss=config.loss,
        n_negatives=config.num_negatives,
        lr=config.learning_rate,
        batch_size=config.batch_windows,
        lightning_module_kwargs={"logits_t": config.temperature},
        get_trainer_func=_trainer,
    )


def _trainer() -> Trainer:
    """Lightning on the CPU, without its progress bar, logs and pickled checkpoints."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence of Lightning, which tells of GPUs and data loader workers at every epoch."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
