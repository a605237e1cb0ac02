"""The network as a stream: one event of each of many users per step.

Keys and values of the last `window` events stand in a ring; positions count modulo the period of the rotary table.
Equal to `BehaviorModel.hidden` over each user's receptive field, to rounding.
"""

# L layers, U users, I window, H heads, E head width, D width

import torch
from torch import Tensor

from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel, Block


class Decoder:
    """State of the network after the events that `step` was given."""

    def __init__(self, model: BehaviorModel, num_users: int) -> None:
        self.model = model.eval()
        config = model.config
        shape = (config.num_layers, num_users, config.window, config.num_heads, config.head_width)
        device = next(model.parameters()).device
        self._keys, self._values = torch.zeros(shape, device=device), torch.zeros(shape).to(device)
        self._is_filled = torch.zeros(num_users, config.window, dtype=torch.bool, device=device)
        self._num_steps = 0

    @torch.inference_mode()
    def step(
        self, event_U: Tensor, location_U: Tensor, weekday_U: Tensor, slot_U: Tensor, is_there_U: Tensor
    ) -> Tensor:
        """The states (U, D) after one more event of each user.

        event_U, location_U, weekday_U, slot_U  (U,) int64 ids.
        is_there_U  (U,) bool; False for a user whose events have not begun yet; the state of such a user is not
                    defined.
        """
        model = self.model
        position = self._num_steps % ROTARY_PERIOD
        cos, sin = model.rotary_cos[position], model.rotary_sin[position]
        at = self._num_steps % model.config.window
        self._num_steps += 1
        self._is_filled[:, at] = is_there_U
        # A user without events attends to the present one, so that no softmax is empty.
        hidden_key = ~self._is_filled
        hidden_key[:, at] = False
        x = model.embed(event_U, location_U, weekday_U, slot_U)
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            query, key, value = block.project(x[:, None], cos, sin)  # (U, 1, H, E)
            self._keys[layer, :, at] = key[:, 0]
            self._values[layer, :, at] = value[:, 0]
            scale = model.config.head_width**-0.5
            scores = torch.einsum("uhe,uihe->uhi", query[:, 0] * scale, self._keys[layer])
            scores = scores.masked_fill(hidden_key[:, None], -1e9)
            attended = torch.einsum("uhi,uihe->uhe", scores.softmax(-1), self._values[layer])
            x = block.merge(x, attended)
        return model.norm(x)
