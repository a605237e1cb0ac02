"""What moves while a model trains, and the one file from which it goes on."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgebehave_train.files import read_tensors, write_tensors
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.objectives import Objective
from edgebehave_train.training.validation import Validation


@dataclass(kw_only=True)
class TrainingState:
    """Weights, optimizer, running means of the objective, and how far the run has come.

    epoch, step  done so far.
    best_loss    of the best epoch, by what `choose_by` says: nats, or minus the rank.
    validations  one per epoch.
    """

    model: BehaviorModel
    average: AveragedModel
    objective: Objective
    optimizer: torch.optim.Optimizer
    device: torch.device
    epoch: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = -1
    validations: list[Validation] = field(default_factory=list)

    @property
    def averaged(self) -> BehaviorModel:
        """The model with the averaged weights: what is validated and kept."""
        return cast(BehaviorModel, self.average.module)

    def save(self, path: Path) -> None:
        """Write everything that moves into one file, atomically; generators of chance as well."""
        tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        for prefix, module in self._modules().items():
            for name, value in module.state_dict().items():
                tensors[f"{prefix}.{name}"] = value.clone()
        for i, parameter_state in self.optimizer.state_dict()["state"].items():
            for name, value in parameter_state.items():
                tensors[f"optimizer.{i}.{name}"] = value.clone()
        position = {
            "epoch": self.epoch,
            "step": self.step,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "validations": [dataclasses.asdict(one) for one in self.validations],
        }
        metadata = {"position": json.dumps(position)}
        write_tensors(path, tensors, metadata)

    def load(self, path: Path) -> None:
        """Take up what `save` wrote. Raises ValueError for a cut file or an older version's."""
        tensors, metadata = read_tensors(path)
        position = json.loads(metadata["position"])
        if "best_loss" not in position:
            raise ValueError(
                f"{path.parent} was begun by an older version, which chose weights by another "
                "loss; start it again in an empty folder"
            )
        for prefix, module in self._modules().items():
            state = {
                name.removeprefix(f"{prefix}."): value
                for name, value in tensors.items()
                if name.startswith(f"{prefix}.")
            }
            module.load_state_dict(state)
        state_dict = self.optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, of_parameter = name.split(".")
                state_dict["state"].setdefault(int(index), {})[of_parameter] = value
        self.optimizer.load_state_dict(state_dict)
        self.epoch, self.step = position["epoch"], position["step"]
        self.best_loss, self.best_epoch = position["best_loss"], position["best_epoch"]
        self.validations = [Validation(**one) for one in position["validations"]]
        torch.set_rng_state(tensors["rng.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"])

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "objective": self.objective}
