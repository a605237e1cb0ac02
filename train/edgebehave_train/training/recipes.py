"""Training configurations, and the recipes that make them."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.model.behavior_model import ModelConfig, NetworkConfig
from edgebehave_train.training.objectives import ObjectiveConfig

MAX_SEED = 2**63


@dataclass(frozen=True, kw_only=True)
class TrainConfig(NetworkConfig):
    """Everything that decides a training run, except the log.

    generation_weight of the losses of the generation heads beside the objective, > 0.
    min_users         users of the training part who must have a name, of an event, location or behavior, before it
                      enters the vocabulary; all users in a part of fewer. Others stay names of a user's own.
    data_share        share of the training part to train on, in (0, 1]; the vocabulary is of all.
    epochs            passes over the training part, at most.
    patience          epochs without a better one before stopping; 0 = never stop.
    choose_by         what makes an epoch better: "loss" of the objective on the validation part, or "rank", the mean
                      reciprocal rank of its targets. On a small log the rank can improve while the loss of an
                      overconfident network already grows.
    batch_events      events per optimizer step.
    row_events        events per packed row. Short rows mix many users in a step: on a log of 93 users, rows of 720
                      instead of 180 cost 3 points of HR@1.
    learning_rate     peak; linear warm-up over `warmup` of the steps, then cosine to zero.
    warmup            in [0, 1).
    weight_decay      of AdamW.
    ema_decay         of the moving average of the weights, which is saved; 0 = off.
    from_universal    the universal model, tuned to the log, answers together with this one: `training.universal_start`.
    precision         "auto": bfloat16 where the hardware multiplies it, else float32.
    seed              of all random numbers, in [0, 2^63).
    """

    generation_weight: float = 0.5
    min_users: int = 1
    data_share: float = 1.0
    epochs: int = 18
    patience: int = 3
    choose_by: Literal["loss", "rank"] = "loss"
    batch_events: int = 1440
    row_events: int = 180
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    ema_decay: float = 0.99
    from_universal: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    split: SplitConfig = field(default_factory=SplitConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_events", "row_events", "min_users", "window", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("warmup", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 < self.data_share <= 1:
            raise ValueError(f"data_share must lie in (0, 1], got {self.data_share}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if self.from_universal and self.query_context == "none":
            raise ValueError(
                "from_universal reads the time of the query: take query_context time, or start from scratch"
            )
        if self.generation_weight <= 0:
            raise ValueError(f"generation_weight must be positive, got {self.generation_weight}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.seed < MAX_SEED:
            raise ValueError(f"seed must lie in [0, 2^63), got {self.seed}")
        if self.choose_by not in ("loss", "rank"):
            raise ValueError(f"choose_by must be loss or rank, got {self.choose_by!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be auto, float32 or bfloat16, got {self.precision!r}")

    def model_config(self, vocabulary: Vocabulary) -> ModelConfig:
        """Shape of the model that a run trains on a log with this vocabulary."""
        network = {field.name: getattr(self, field.name) for field in dataclasses.fields(NetworkConfig)}
        return ModelConfig(
            num_events=vocabulary.num_events,
            num_locations=vocabulary.num_locations,
            num_behaviors=vocabulary.num_behaviors,
            **{**network, "learned_kernel": self.habits and self.learned_kernel},
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrainConfig":
        content = {name: value for name, value in content.items() if name != "llama"}  # as in ModelConfig
        parts = {"split": SplitConfig(**content["split"]), "objective": ObjectiveConfig(**content["objective"])}
        return cls(**{**content, **parts})


def tiny(**changes: Any) -> TrainConfig:
    """D 64, 2 layers: seconds to minutes on a CPU."""
    return TrainConfig(**{"width": 64, "num_layers": 2, "num_heads": 2, "learning_rate": 2e-3, **changes})


def edge(**changes: Any) -> TrainConfig:
    """D 128, 4 layers: the default for a phone."""
    return TrainConfig(**{"width": 128, "num_layers": 4, "num_heads": 4, **changes})


def base(**changes: Any) -> TrainConfig:
    """D 256, 4 layers."""
    return TrainConfig(**{"width": 256, "num_layers": 4, "num_heads": 4, **changes})


def large(**changes: Any) -> TrainConfig:
    """D 512, 8 layers: the top of BehaveGPT's scaling sweep; wants a GPU."""
    return TrainConfig(**{"width": 512, "num_layers": 8, "num_heads": 8, **changes})


def paper(**changes: Any) -> TrainConfig:
    """D 1024, 12 layers, as BehaveGPT; wants a GPU."""
    return TrainConfig(**{"width": 1024, "num_layers": 12, "num_heads": 16, **changes})


PRESETS = {"tiny": tiny, "edge": edge, "base": base, "large": large, "paper": paper}
