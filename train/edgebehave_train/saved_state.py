"""The state of a loop in one safetensors file: tensors, optimizer, random generators and JSON values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from edgebehave_train.files import read_tensors, write_tensors


def save_state(
    path: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    optimizer: Optimizer,
    *,
    is_writer: bool = True,
    **metadata: Any,
) -> None:
    """Write the state of a training loop into one safetensors file, atomically.

    parts      state dicts by a name without a dot; "optimizer" and "rng" are taken. Tensors that are split over
               processes are put together: then all processes call this, and one of them writes.
    optimizer  its state is kept, and that of torch's random generators on the CPU and its device.
    is_writer  whether this process writes the file.
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
    tensors = {f"{part}.{name}": whole(value).clone() for part, of in everything.items() for name, value in of.items()}
    if is_writer:
        write_tensors(path, tensors, {name: json.dumps(value) for name, value in metadata.items()})


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be split over processes, put together; all of them take part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def split_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, split as another one of its shape."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


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
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for full_name, value in self.parts.get("optimizer", {}).items():
            index, name = full_name.split(".", 1)
            state["state"].setdefault(int(index), {})[name] = split_like(value, parameters[int(index)])
        optimizer.load_state_dict(state)
        torch.set_rng_state(self.parts["rng"]["cpu"])
        if (device := _device(optimizer)).type == "cuda":
            torch.cuda.set_rng_state(self.parts["rng"]["cuda"], device)


def _device(optimizer: Optimizer) -> torch.device:
    return next(parameter.device for group in optimizer.param_groups for parameter in group["params"])
