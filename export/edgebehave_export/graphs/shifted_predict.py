"""The mixture, and the last step of `edgebehave.answers.probability_shift` behind it.

`predict_graph` writes the same as predict.onnx; this form is that of window.onnx.
"""

# C = V + U candidates

import torch
from torch import Tensor

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave_export.graphs.graphs import Predict
from edgebehave_train.model.behavior_model import BehaviorModel


class ShiftedPredict(Predict):
    """`Predict` with one more input, tail () float32 in 0..1, the last of `input_names`."""

    log_ratio_C: Tensor

    def __init__(self, model: BehaviorModel, shift: ProbabilityShift) -> None:
        super().__init__(model)
        self.inverse_temperature, self.boost = 1 / shift.temperature, shift.boost
        log_ratio_C = torch.zeros(model.config.num_behaviors + model.config.num_spare)
        log_ratio_C[: model.config.num_behaviors] = torch.from_numpy(shift.log_ratio_V)
        self.register_buffer("log_ratio_C", log_ratio_C, persistent=False)

    @property
    def input_names(self) -> list[str]:
        return [*super().input_names, "tail"]

    def forward(self, *inputs: Tensor) -> Tensor:
        """probs (V + U,) float32, sums to 1; column 0 is what nobody can name."""
        probs_C: Tensor = super().forward(*inputs)
        return self.shifted(probs_C, inputs[-1])

    def shifted(self, probs_C: Tensor, tail: Tensor) -> Tensor:
        """softmax(log p / T + g sqrt p + tail log r); the logarithm of 0 is -inf, which stays 0."""
        scores_C = probs_C.log() * self.inverse_temperature + probs_C.sqrt() * self.boost
        return (scores_C + tail * self.log_ratio_C).softmax(-1)
