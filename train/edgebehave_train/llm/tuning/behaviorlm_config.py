"""Settings of `edgebehave llm tune`: the stages of BehaviorLM, their samples and their tuning."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from edgebehave_train.llm.prompts.samples import LLM_SPLIT
from edgebehave_train.llm.prompts.wording import PromptConfig
from edgebehave_train.llm.scoring.language_model import LoraSettings
from edgebehave_train.llm.tuning.anchor_selection import ANCHOR_THRESHOLD, AUXILIARY_RATIO
from edgebehave_train.llm.tuning.balanced_selection import SelectionConfig
from edgebehave_train.llm.tuning.tuning_loop import TuningConfig
from edgebehave_train.logs.split import SplitConfig

Stage = Literal["anchor", "tail", "all", "balanced"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, kw_only=True)
class BehaviorLMConfig:
    """All settings of a tuned language model; with the log, the base and the corpus they determine it.

    stages            in this order, each starts from the adapters of the one before:
                      "anchor": samples of anchors, mixed with conversations (A-tuning);
                      "tail": the same with samples of the tail, for the reversed order;
                      "all": samples of every behavior as they come (standard fine-tuning);
                      "balanced": few hard samples, equally many of each behavior (B-tuning).
    anchor_threshold  share of the training events above which a behavior is an anchor, [0, 1).
    auxiliary_ratio   share of conversations in the mixture of anchor and tail stages, [0, 1).
    max_samples       of the log in a stage other than balanced, drawn uniformly.
    max_validation    samples that choose the best epoch: equally many of each behavior in a
                      balanced stage, drawn uniformly in others.
    max_tokens        longer samples, answer included, are left out; 0 = the model's context.
    selection         samples of a balanced stage.
    prompt            wording of the prompts.
    split             of the users into parts.
    lora              the adapters.
    tuning            of stages other than balanced.
    balanced_tuning   of a balanced stage.
    seed              of everything random, the seeds inside tuning included.
    """

    stages: tuple[Stage, ...] = ("anchor", "balanced")
    anchor_threshold: float = ANCHOR_THRESHOLD
    auxiliary_ratio: float = AUXILIARY_RATIO
    max_samples: int = 10_000
    max_validation: int = 500
    max_tokens: int = 0
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    split: SplitConfig = LLM_SPLIT
    lora: LoraSettings = field(default_factory=LoraSettings)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    balanced_tuning: TuningConfig = field(default_factory=TuningConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        strange = [stage for stage in self.stages if stage not in STAGES]
        if strange or not self.stages or len(set(self.stages)) != len(self.stages):
            raise ValueError(
                f"stages must be some of {', '.join(STAGES)}, each once, got {','.join(self.stages) or 'none'}"
            )
        for name in ("anchor_threshold", "auxiliary_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("max_samples", "max_validation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_tokens", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def tuning_of(self, stage: Stage) -> TuningConfig:
        """Settings of the loop in a stage, with the seed of the whole."""
        tuning = self.balanced_tuning if stage == "balanced" else self.tuning
        return dataclasses.replace(tuning, seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "BehaviorLMConfig":
        parts = {
            "selection": SelectionConfig,
            "prompt": PromptConfig,
            "split": SplitConfig,
            "lora": LoraSettings,
            "tuning": TuningConfig,
            "balanced_tuning": TuningConfig,
        }
        # Configs from before 2026-11-30 have another name for `location_of_next`.
        prompt = {"location_of_next" if n == "place_of_next" else n: v for n, v in content["prompt"].items()}
        content = {**content, "prompt": prompt}
        return cls(**{**content, **{name: make(**content[name]) for name, make in parts.items()}})
