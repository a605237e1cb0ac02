"""The state of a training loop in one file, from which a killed run goes on to the bit."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from edgebehave_train.files import read_tensors, write_tensors
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.objectives import Objective
from edgebehave_train.training.validation import Validation


def save_state(path: Path, parts: Mapping[str, Mapping[str, Tensor]], optimizer: Optimizer, **metadata: Any) -> None:
    """Write the state of a training loop into one safetensors file, atomically.

    parts      state dicts by a name without a dot; "optimizer" and "rng" are taken.
    optimizer  its state is kept, and that of torch's random generators on the CPU and its device.
    metadata   JSON values: how far the loop has come.
    """
    moments = optimizer.state_dict()["state"]
    rng = {"cpu": torch.get_rng_state()}
    if (device := _device(optimizer)).type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    everything: dict[str, Mapping[str, Tensor]] = {
        **parts,
        "optimizer": {f"{i}.{name}": value for i, of in moments.items() for name, value in of.items()},
        "rng": rng,
    }
    tensors = {f"{part}.{name}": value.clone() for part, of in everything.items() for name, value in of.items()}
    write_tensors(path, tensors, {name: json.dumps(value) for name, value in metadata.items()})


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """The content of a file of `save_state`; a part without a tensor is absent."""

    parts: dict[str, dict[str, Tensor]]
    metadata: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "SavedState":
        """Raises ValueError if the file is damaged."""
        tensors, metadata = read_tensors(path)
        parts: dict[str, dict[str, Tensor]] = {}
        for full_name, value in tensors.items():
            part, name = full_name.split(".", 1)
            parts.setdefault(part, {})[name] = value
        return cls(parts=parts, metadata={name: json.loads(text) for name, text in metadata.items()})

    def restore(self, optimizer: Optimizer) -> None:
        """Restore the saved state of the optimizer and of the random generators."""
        state = optimizer.state_dict()
        for full_name, value in self.parts.get("optimizer", {}).items():
            index, name = full_name.split(".", 1)
            state["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(state)
        torch.set_rng_state(self.parts["rng"]["cpu"])
        if (device := _device(optimizer)).type == "cuda":
            torch.cuda.set_rng_state(self.parts["rng"]["cuda"], device)


def _device(optimizer: Optimizer) -> torch.device:
    return next(parameter.device for group in optimizer.param_groups for parameter in group["params"])


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
