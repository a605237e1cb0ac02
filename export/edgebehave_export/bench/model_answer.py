"""One prediction of a model in torch, by the functions that train and score it."""

# n behaviors of a history, D width, C = V + U candidates

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from edgebehave.habits import HabitHistory, kernel_weights
from edgebehave.time_features import weekday_and_slot
from edgebehave_train.kernels.pairs import PastBehaviors
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.metrics.scoring import mixture_probs
from edgebehave_train.model.behavior_model import UNKNOWN_TIME, BehaviorModel


class ModelAnswer:
    """Probabilities for one question, from the state; the columns of the history are prepared once.

    history_4n   int64, as for predict.onnx.
    moment       UTC seconds and offset in minutes to ask for; None: not known.
    location     id to ask for, where query_context is time_location.
    num_real     the first num_real behaviors happened; nothing is copied from the others. None: all happened.
    """

    def __init__(
        self,
        model: BehaviorModel,
        history_4n: npt.NDArray[np.int64],
        moment: tuple[int, int] | None,
        location: int = 0,
        num_real: int | None = None,
    ) -> None:
        config = model.config
        self.model, self.num_history = model, history_4n.shape[1]
        self.num_real = self.num_history if num_real is None else num_real
        is_timed = moment is not None and config.query_context != "none"
        self.moment = moment if is_timed else None
        self.location = torch.tensor([location if location < config.num_locations else 0])
        self.history = HabitHistory.of_events(*history_4n)
        self.past = None
        if config.learned_kernel and config.habits:
            # The question is the row behind the history.
            row = np.append(history_4n, np.array([[0, 0, *(moment or (0, 0))]]).T, 1)
            behaviors = BehaviorLog.of_columns(
                user_start=np.array([0, row.shape[1]]),
                mapped_behavior=row[0],
                location=row[1],
                time_s=row[2],
                utc_offset_min=row[3],
                is_train=np.zeros(row.shape[1], bool),
                num_behaviors=config.num_behaviors,
                num_spare=config.num_spare,
                ask_early_s=0 if is_timed else None,
            )
            self.past = PastBehaviors.of_log(behaviors, torch.device("cpu"))

    @torch.inference_mode()
    def __call__(self, hidden_1D: Tensor) -> Tensor:
        """(C,) float32."""
        model, config = self.model, self.model.config
        weekday, slot = (UNKNOWN_TIME, UNKNOWN_TIME) if self.moment is None else weekday_and_slot(*self.moment)
        z_1D = model.query(hidden_1D, torch.tensor([int(weekday)]), torch.tensor([int(slot)]), self.location)
        network_1V = model.logits(z_1D).softmax(-1)
        if not config.habits:
            return F.pad(network_1V, (0, config.num_spare))[0]
        weights_Kn = kernel_weights(self.history, *(self.moment or (None,)))
        weights_Kn[:, self.num_real :] = 0
        pairs = None
        if self.past is not None:
            pairs = self.past.pairs(torch.tensor([self.num_history]), torch.tensor([self.moment is not None]))
            real = slice(0, self.num_real)
            pairs = replace(pairs, query=pairs.query[real], behavior=pairs.behavior[real], cues=pairs.cues[:, real])
        behavior_n = torch.from_numpy(self.history.behavior)
        num_candidates = config.num_behaviors + config.num_spare
        weights_K1n = torch.from_numpy(weights_Kn)[:, None]
        return mixture_probs(model, z_1D, network_1V, weights_K1n, behavior_n, pairs, num_candidates)[0]
