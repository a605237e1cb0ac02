"""The parity gate: a bundle is written only if its graphs predict what its checkpoint predicts.

Real histories of the validation part are streamed through the graphs event by event, as a device
would, and every prediction is compared with `edgebehave_train.metrics.scoring`.
"""

# A predictions, V behaviors, U spare slots

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.habits import HABIT_EVENTS
from edgebehave_export.parity.gate_log import gate_log
from edgebehave_export.parity.generation_parity import generation_comparisons, waiting_time_comparison
from edgebehave_export.parity.replay import Device, FloatArray, Replay, spare_slots
from edgebehave_export.parity.report import MAX_DIFFERENCE, Check, GraphComparison, ParityReport
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import MappedLog, map_log
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.model.behavior_model import ROTARY_PERIOD, BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint

MIN_AGREEMENT = 0.995
"""Share of predictions whose most probable behavior int8 must keep."""

_NUM_REBUILT = 3
_PREFILL_EVENTS = 4096


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
    shift            the one that the graphs were exported with.
    Raises ValueError if the log has no validation part.
    """
    config = model.config
    shift = shift or ProbabilityShift(log_ratio_V=np.zeros(config.num_behaviors))
    gate = gate_log(store, checkpoint.config.split, config.window, num_predictions)
    log = map_log(gate.store, checkpoint.vocabulary)
    targets = _answerable(log, gate.asked)
    devices = {"fp32": Device(config, fp32)} | ({"int8": Device(config, int8)} if int8 else {})
    replay = Replay.of_log(log, targets, devices)
    takes_time = config.query_context != "none"
    mixtures = {timed: _model_probs(model, replay, timed) for timed in ((True, False) if takes_time else (False,))}
    checks: list[Check] = []
    for timed, mixture in mixtures.items():
        suffix = ", time of the query known" if timed else ", time not known" if takes_time else ""
        answers = {name: replay.answers(name, timed) for name in devices}
        what = f"probabilities{suffix}"
        checks += GraphComparison(what, shift.apply(mixture), {"fp32": answers["fp32"]}).checks()
        if not timed:
            with_tail = replay.answers("fp32", timed, tail=1.0)
            checks += GraphComparison(f"{what}, tail 1", shift.apply(mixture, 1.0), {"fp32": with_tail}).checks()
        if int8:
            # The question with a time is judged. Without one, a weakly trained model has near ties
            # that flip under any rounding: reported, not judged.
            limit = MIN_AGREEMENT if timed or not takes_time else None
            checks += _compare_int8(answers["fp32"], answers["int8"], suffix, limit)
    if devices["fp32"].takes_many:
        checks += _check_prefill(replay)
    checks += _check_rebuilt(replay)
    if config.generation_heads:
        checks += waiting_time_comparison(model, replay).checks()
    if devices["fp32"].generates:
        for comparison in generation_comparisons(model, replay, mixtures[takes_time]):
            checks += comparison.checks()
    index = targets.event - log.user_start[targets.user]
    return ParityReport(
        checks=checks,
        num_predictions=len(targets),
        num_users=len(replay.histories) - gate.num_joined,
        num_joined=gate.num_joined,
        longest=max(len(history) for history in replay.histories),
        num_full_cache=int((index >= config.window).sum()),
        num_wrapped=int((index > ROTARY_PERIOD).sum()),
    )


def _answerable(log: MappedLog, asked: npt.NDArray[np.bool_]) -> Targets:
    """Targets that have a behavior within reach; a device without one answers with the priors."""
    behaviors = log.behavior_log(np.zeros(len(asked), bool))
    targets = behaviors.targets(asked)
    within_reach = targets.event - behaviors.event[targets.row - 1] <= HABIT_EVENTS
    return targets.take(within_reach)


def _model_probs(model: BehaviorModel, replay: Replay, timed: bool) -> FloatArray:
    """Probabilities of the model in the columns of a device, (A, V + U).

    The model gives a column to every behavior of a user's own, a device to the latest U of them.
    """
    config, log, targets = model.config, replay.log, replay.targets
    ask_early_s = 0 if timed else None
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


def _compare_int8(fp32: FloatArray, int8: FloatArray, suffix: str, limit: float | None) -> list[Check]:
    agreement = (fp32[:, 1:].argmax(1) == int8[:, 1:].argmax(1)).mean() if len(fp32) else 1.0
    difference = float(np.abs(fp32 - int8).max(initial=0))
    return [
        Check(
            name=f"fp32 - int8, same top-1{suffix}",
            value=float(agreement),
            count=len(fp32),
            limit=limit,
            at_least=True,
        ),
        Check(name=f"fp32 - int8, probabilities{suffix}", value=difference, count=len(fp32)),
    ]


def _check_prefill(replay: Replay) -> list[Check]:
    """Many events in two runs against the same ones one by one.

    Judged in fp32: int8 scales the inputs of a whole run at once, so that its prefill is another
    approximation of the same state. A device rebuilds by steps.
    """
    histories, targets = replay.histories, replay.targets
    by_length = np.argsort([-len(history) for history in histories], kind="stable")
    room = np.cumsum([len(histories[user]) for user in by_length]) <= _PREFILL_EVENTS
    users = [int(user) for user in by_length[room] if len(histories[user]) > 1]
    by_steps = replace(replay, targets=targets.take(np.isin(targets.user, users)))
    checks = []
    for name, device in replay.devices.items():
        states = list(replay.hidden[name])
        for user in users:
            states[user] = device.prefill(histories[user], max(1, len(histories[user]) // 3))
        filled = replace(by_steps, hidden={name: states})
        apart = np.abs(by_steps.answers(name, timed=False) - filled.answers(name, timed=False))
        checks.append(
            Check(
                name=f"{name}: prefill - steps, probabilities",
                value=float(apart.max(initial=0)),
                count=len(by_steps.targets),
                limit=MAX_DIFFERENCE if name == "fp32" else None,
            )
        )
    return checks


def _check_rebuilt(replay: Replay) -> list[Check]:
    """A state rebuilt from the events that it depends on, to the bit."""
    checks = []
    for name, device in replay.devices.items():
        long = [u for u, history in enumerate(replay.histories) if len(history) > device.config.receptive_field]
        differences = [
            np.abs(device.rebuild(replay.histories[u]) - replay.hidden[name][u][-1]).max() for u in long[:_NUM_REBUILT]
        ]
        checks.append(
            Check(
                name=f"{name}: rebuilt from the receptive field - streamed",
                value=float(max(differences, default=0.0)),
                count=len(differences),
                limit=0.0,
            )
        )
    return checks
