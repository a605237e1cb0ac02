"""The state of a training loop in one file, from which a killed run goes on to the bit."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.saved_state import SavedState, save_state
from edgebehave_train.training.objectives import Objective
from edgebehave_train.training.validation import Validation


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes while `pretrain` runs: weights, optimizer, objective, position.

    epoch, step  done so far.
    best_loss    of the best epoch, by `choose_by`: nats, or minus the rank.
    validations  one per epoch.
    """

    model: BehaviorModel
    average: AveragedModel
    objective: Objective
    optimizer: Optimizer
    epoch: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    validations: list[Validation] = field(default_factory=list)

    @property
    def averaged(self) -> BehaviorModel:
        """The model with the averaged weights, which are validated and kept."""
        return cast(BehaviorModel, self.average.module)

    def save(self, path: Path) -> None:
        position = {
            "epoch": self.epoch,
            "step": self.step,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "validations": [dataclasses.asdict(one) for one in self.validations],
        }
        parts = {name: module.state_dict() for name, module in self._modules().items()}
        save_state(path, parts, self.optimizer, position=position)

    def load(self, path: Path) -> None:
        """Continue from the state that `save` wrote. Raises ValueError for a damaged file or an older version's."""
        saved = SavedState.read(path)
        position = saved.metadata["position"]
        if "best_loss" not in position:
            raise ValueError(
                f"{path.parent} was begun by an older version, which chose weights by another "
                "loss; start it again in an empty folder"
            )
        for name, module in self._modules().items():
            module.load_state_dict(saved.parts.get(name, {}))
        saved.restore(self.optimizer)
        self.validations = [Validation(**one) for one in position.pop("validations")]
        for name, value in position.items():
            setattr(self, name, value)

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "objective": self.objective}
