"""The state of a training loop in one file, from which a killed run goes on to the bit."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.saved_state import SavedState, save_state, split_like, whole
from edgebehave_train.training.objectives import Objective
from edgebehave_train.training.validation import Validation

_POSITION = (
    *("epoch", "step", "best_loss", "best_epoch"),
    *("line_losses", "epoch_loss", "epoch_steps", "extended_at"),
)


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes while `pretrain` runs: weights, optimizer, objective, position.

    holder       a model of the same shape that takes the averaged weights, where weights are split over processes.
    epoch, step  done so far.
    best_loss    of the best epoch, by `choose_by`: nats, or minus the rank.
    validations  one per epoch.
    line_losses  losses of the steps that no line of metrics.jsonl tells yet, nats.
    epoch_loss   sum of the losses of this epoch's steps, nats, and epoch_steps their number.
    extended_at  epoch and step at which a finished run was extended last; 0, 0 = never.
    """

    model: BehaviorModel
    average: AveragedModel
    objective: Objective
    optimizer: Optimizer
    holder: BehaviorModel | None = None
    epoch: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    validations: list[Validation] = field(default_factory=list)
    line_losses: list[float] = field(default_factory=list)
    epoch_loss: float = 0.0
    epoch_steps: int = 0
    extended_at: tuple[int, int] = (0, 0)

    def averaged(self) -> BehaviorModel:
        """The model with the averaged weights, which are validated and kept; all processes take part."""
        average = cast(BehaviorModel, self.average.module)
        if self.holder is None:
            return average
        self.holder.load_state_dict({name: whole(value) for name, value in average.state_dict().items()})
        return self.holder

    def save(self, path: Path, *, is_writer: bool = True) -> None:
        """Write the state; all processes take part if weights are split over them."""
        position = {name: getattr(self, name) for name in _POSITION}
        position["validations"] = [dataclasses.asdict(one) for one in self.validations]
        parts = {name: module.state_dict() for name, module in self._modules().items()}
        save_state(path, parts, self.optimizer, is_writer=is_writer, position=position)

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
            module.load_state_dict(_split_as(saved.parts.get(name, {}), module.state_dict()))
        saved.restore(self.optimizer)
        self.validations = [Validation(**one) for one in position.pop("validations")]
        for name, value in position.items():
            setattr(self, name, value)
        self.extended_at = (self.extended_at[0], self.extended_at[1])

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "objective": self.objective}


def _split_as(saved: dict[str, Tensor], now: dict[str, Tensor]) -> dict[str, Tensor]:
    """Saved tensors, split over processes as those of a module are."""
    return {name: split_like(value, now[name]) if name in now else value for name, value in saved.items()}
