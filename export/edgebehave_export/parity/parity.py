"""The parity gate: a bundle is written only if it predicts what its checkpoint predicts.

Real histories of the validation part are streamed through the graphs event by event, as a device
would, and every prediction is compared with `edgebehave_train.metrics.scoring`.
"""

# A predictions, V behaviors, U spare slots, D width

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.habits import HABIT_EVENTS
from edgebehave_export.parity.gate_log import gate_log
from edgebehave_export.parity.generation import generation_differences
from edgebehave_export.parity.replay import Device, History, spare_slots
from edgebehave_export.parity.waiting_time import gap_differences
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, map_log
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint

FloatArray = npt.NDArray[np.float32]

MAX_DIFFERENCE = 1e-4
"""Between probabilities of torch and of the fp32 graphs: rounding, in another order, stays below
1e-5; a wrong slot or a lost event does not."""

MIN_AGREEMENT = 0.995
"""Share of predictions whose most probable behavior int8 must keep."""

_NUM_REBUILT = 3
_PREFILL_EVENTS = 4096


class ParityError(ValueError):
    """A graph does not do what the checkpoint does; `report` has the numbers."""

    def __init__(self, report: "ParityReport") -> None:
        failed = "; ".join(f"{c.name}: {c.value:.3g}, must be {c.bound}" for c in report.failed)
        super().__init__(f"the export differs from its checkpoint, nothing was written: {failed}")
        self.report = report


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the gate's table.

    value  what was measured.
    limit  what it must not exceed, or, with `at_least`, not fall short of; None: only reported.
    count  predictions (or histories) behind it.
    """

    name: str
    value: float
    count: int
    limit: float | None = None
    at_least: bool = False

    @property
    def passed(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def bound(self) -> str:
        if self.limit is None:
            return "-"
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """What the gate measured.

    num_users         histories streamed, real ones.
    num_joined        further ones, joined from several users to be long enough.
    longest           events of the longest.
    num_full_cache    predictions made from a full cache.
    num_wrapped       predictions made after rotary positions started over.
    """

    checks: list[Check] = field(default_factory=list)
    num_predictions: int
    num_users: int
    num_joined: int
    longest: int
    num_full_cache: int
    num_wrapped: int

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        return not self.failed

    def raise_if_failed(self) -> None:
        if self.failed:
            raise ParityError(self)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}

    def to_text(self) -> str:
        """The table, for people."""
        joined = f" and {self.num_joined} joined ones" if self.num_joined else ""
        lines = [
            f"parity on {self.num_predictions:,} predictions of {self.num_users} histories"
            f"{joined}, the longest {self.longest:,} events",
            f"{self.num_full_cache:,} of them from a full cache, {self.num_wrapped:,} after the positions started over",
            f"{'check':<48}{'value':>12}{'must be':>12}{'of':>8}",
        ]
        for check in self.checks:
            mark = "" if check.passed else "  FAILED"
            value = f"{check.value:.4%}" if check.at_least else f"{check.value:.3g}"
            lines.append(f"{check.name:<48}{value:>12}{check.bound:>12}{check.count:>8}{mark}")
        return "\n".join(lines)


def check_parity(
    checkpoint: Checkpoint,
    model: BehaviorModel,
    store: EventStore,
    fp32: Mapping[str, bytes],
    int8: Mapping[str, bytes] | None = None,
    num_predictions: int = 2100,
    shift: ProbabilityShift | None = None,
) -> ParityReport:
    """Compare graphs with their model.

    fp32, int8       contents of the graphs by file name.
    num_predictions  that many of the validation part, where the log has them.
    shift            what the graphs were exported with.
    Raises ValueError if the log has no validation part.
    """
    config = model.config
    shift = shift or ProbabilityShift(log_ratio_V=np.zeros(config.num_behaviors))
    gate = gate_log(store, checkpoint.config.split, config.window, num_predictions)
    log = map_log(gate.store, checkpoint.vocabulary)
    histories = [History.of_log(log, user) for user in range(log.num_users)]
    targets = _answerable(log, gate.asked)
    timed = config.query_context != "none"
    devices = {"fp32": Device(config, fp32)} | ({"int8": Device(config, int8)} if int8 else {})
    hidden = {name: [device.stream(history) for history in histories] for name, device in devices.items()}
    checks: list[Check] = []
    for ask_early_s in (0, None) if timed else (None,):
        suffix = ", time of the query known" if ask_early_s == 0 else ", time not known"
        suffix = suffix if timed else ""
        mixture = _reference(model, log, targets, ask_early_s)
        answers = {
            name: _answers(device, log, histories, hidden[name], targets, ask_early_s)
            for name, device in devices.items()
        }
        checks.append(_compare_torch(answers["fp32"], shift.apply(mixture), suffix))
        if ask_early_s is None:
            turned = _answers(devices["fp32"], log, histories, hidden["fp32"], targets, None, 1.0)
            checks.append(_compare_torch(turned, shift.apply(mixture, 1.0), f"{suffix}, tail 1"))
        if int8:
            # The usual question decides. Without a time, a weakly trained model has near ties
            # that flip under any rounding: reported, not judged.
            limit = MIN_AGREEMENT if ask_early_s == 0 or not timed else None
            checks += _compare_int8(answers["fp32"], answers["int8"], suffix, limit)
    if devices["fp32"].takes_many:
        checks += _check_prefill(devices, histories, hidden, log, targets)
    checks += _check_rebuilt(devices, histories, hidden)
    if config.generation_heads:
        of_device = gap_differences(model, log, targets, histories, devices, hidden)
        checks += _compare_generation(of_device, "waiting time")
    if devices["fp32"].generates:
        mixture = _reference(model, log, targets, 0 if timed else None)
        generated = generation_differences(model, log, targets, mixture, histories, devices, hidden)
        for what, of_device in generated.items():
            checks += _compare_generation(of_device, what)
    index = targets.event - log.user_start[targets.user]
    return ParityReport(
        checks=checks,
        num_predictions=len(targets),
        num_users=len(histories) - gate.num_joined,
        num_joined=gate.num_joined,
        longest=max(len(history) for history in histories),
        num_full_cache=int((index >= config.window).sum()),
        num_wrapped=int((index > ROTARY_PERIOD).sum()),
    )


def _answerable(log: MappedLog, asked: npt.NDArray[np.bool_]) -> Targets:
    """Targets that have a behavior within reach; a device without one answers with the priors."""
    behaviors = log.behavior_log(np.zeros(len(asked), bool))
    targets = behaviors.targets(asked)
    within_reach = targets.event - behaviors.event[targets.row - 1] <= HABIT_EVENTS
    return targets.take(within_reach)


def _reference(model: BehaviorModel, log: MappedLog, targets: Targets, ask_early_s: int | None) -> FloatArray:
    """Probabilities of torch in the columns of a device, (A, V + U).

    Torch gives a column to every behavior of a user's own, a device to the latest U of them.
    """
    config = model.config
    behaviors = log.behavior_log(np.zeros(len(log.event), bool), ask_early_s)
    probs = np.zeros((len(targets), config.num_behaviors + config.num_spare), np.float32)
    for index, block in target_probs(model, log, behaviors, targets, ask_early_s):
        probs[index, : config.num_behaviors] = block[:, : config.num_behaviors]
        for i, row in zip(index, block, strict=True):
            at, first = targets.event[i], log.user_start[targets.user[i]]
            seen = log.behavior[max(first, at - HABIT_EVENTS) : at].astype(np.int64)
            _, owners = spare_slots(seen, config.num_behaviors, config.num_spare)
            if config.habits:
                probs[i, config.num_behaviors :][: len(owners)] = row[owners]
    probs[:, 0] = np.maximum(0, 1 - probs[:, 1:].sum(1))
    return probs


def _answers(
    device: Device,
    log: MappedLog,
    histories: list[History],
    hidden: list[FloatArray],
    targets: Targets,
    ask_early_s: int | None,
    tail: float = 0.0,
) -> FloatArray:
    """Probabilities of a device for the targets, (A, V + U)."""
    config = device.config
    probs = np.empty((len(targets), config.num_behaviors + config.num_spare), np.float32)
    for i, (user, event) in enumerate(zip(targets.user, targets.event, strict=True)):
        at = int(event - log.user_start[user])
        moment = None
        if ask_early_s is not None:
            # Histories that were joined step back in time by nothing: see `gate_log`.
            asked_at = max(log.time_s[event] - ask_early_s, log.time_s[event - 1])
            moment = int(asked_at), int(log.utc_offset_min[event])
        state = hidden[user][at - 1]
        probs[i] = device.predict(device.predict_inputs(state, histories[user], at, moment, tail))
    return probs


def _compare_torch(fp32: FloatArray, reference: npt.NDArray[np.floating], suffix: str) -> Check:
    return Check(
        name=f"torch - fp32, probabilities{suffix}",
        value=float(np.abs(fp32 - reference).max(initial=0)),
        count=len(fp32),
        limit=MAX_DIFFERENCE,
    )


def _compare_generation(of_device: Mapping[str, FloatArray], what: str) -> list[Check]:
    """Differences from torch, of which those of fp32 are judged."""
    return [
        Check(
            name=f"torch - {name}, probability of the {what}",
            value=float(difference.max(initial=0)),
            count=len(difference),
            limit=MAX_DIFFERENCE if name == "fp32" else None,
        )
        for name, difference in of_device.items()
    ]


def _compare_int8(fp32: FloatArray, int8: FloatArray, suffix: str, limit: float | None) -> list[Check]:
    agreement = (fp32[:, 1:].argmax(1) == int8[:, 1:].argmax(1)).mean() if len(fp32) else 1.0
    return [
        Check(
            name=f"fp32 - int8, same top-1{suffix}",
            value=float(agreement),
            count=len(fp32),
            limit=limit,
            at_least=True,
        ),
        Check(
            name=f"fp32 - int8, probabilities{suffix}",
            value=float(np.abs(fp32 - int8).max(initial=0)),
            count=len(fp32),
        ),
    ]


def _check_prefill(
    devices: Mapping[str, Device],
    histories: list[History],
    hidden: Mapping[str, list[FloatArray]],
    log: MappedLog,
    targets: Targets,
) -> list[Check]:
    """Many events in two runs against the same ones one by one.

    Judged in fp32: int8 scales the inputs of a whole run at once, so that its prefill is another
    approximation of the same state. A device rebuilds by steps.
    """
    by_length = np.argsort([-len(history) for history in histories], kind="stable")
    room = np.cumsum([len(histories[user]) for user in by_length]) <= _PREFILL_EVENTS
    users = [int(user) for user in by_length[room] if len(histories[user]) > 1]
    checks = []
    for name, device in devices.items():
        filled = list(hidden[name])
        for user in users:
            filled[user] = device.prefill(histories[user], max(1, len(histories[user]) // 3))
        mine = targets.take(np.isin(targets.user, users))
        probs = [_answers(device, log, histories, states, mine, None) for states in (hidden[name], filled)]
        checks.append(
            Check(
                name=f"{name}: prefill - steps, probabilities",
                value=float(np.abs(probs[0] - probs[1]).max(initial=0)),
                count=len(mine),
                limit=MAX_DIFFERENCE if name == "fp32" else None,
            )
        )
    return checks


def _check_rebuilt(
    devices: Mapping[str, Device],
    histories: list[History],
    hidden: Mapping[str, list[FloatArray]],
) -> list[Check]:
    """A state rebuilt from the events that it depends on, to the bit."""
    checks = []
    for name, device in devices.items():
        receptive_field = device.config.receptive_field
        long = [u for u, history in enumerate(histories) if len(history) > receptive_field]
        differences = [np.abs(device.rebuild(histories[u]) - hidden[name][u][-1]).max() for u in long[:_NUM_REBUILT]]
        checks.append(
            Check(
                name=f"{name}: rebuilt from the receptive field - streamed",
                value=float(max(differences, default=0.0)),
                count=len(differences),
                limit=0.0,
            )
        )
    return checks
