"""Metrics of the SDK, fed event by event, beside those of `edgebehave evaluate`.

    python research/replay_on_sdk.py runs/edge runs/store runs/bundle --test

Replays every user of a log on a `Predictor`, asks it before each event of the validation (or
test) part, and prints its metrics beside those of the checkpoint in torch. A reading of the test
part is not recorded here: use it on checkpoints whose figures are already known.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave import Predictor
from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore, NamedEvent
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.ranking import Predictions, rank_in_blocks
from edgebehave_train.training.checkpoint import Checkpoint


def replayed(predictor: Predictor, store: EventStore) -> Iterator[tuple[int, int, NamedEvent]]:
    """User, position and event, one by one; each is observed when the next one is asked for."""
    for index, user in enumerate(store.users()):
        for position, event in enumerate(store.named_events(index), int(store.user_start[index])):
            yield index, position, event
            event.observe_in(predictor, user)
        predictor.forget(user)


def asked_before(
    predictor: Predictor, store: EventStore, targets: Targets
) -> Iterator[tuple[int, str, dict[str, int]]]:
    """Number, user and moment of each target, after its past was observed and before it is."""
    target_of_event = {int(event): i for i, event in enumerate(targets.event)}
    users = store.users()
    for index, position, event in replayed(predictor, store):
        target = target_of_event.get(position)
        if target is not None:
            moment = {"at": event.time_s, "utc_offset_min": event.utc_offset_min}
            yield target, users[index], moment


def replay(predictor: Predictor, store: EventStore, targets: Targets, habits: bool = True) -> Predictions:
    """Predictions of the SDK for targets of a log, each asked for before its event is observed."""

    def answers() -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        for target, user, moment in asked_before(predictor, store, targets):
            _, probs = predictor.probabilities(user, **moment, habits=habits)
            # Column 0 of the ranking is "unknown", which the SDK never names.
            yield slice(target, target + 1), np.append(np.float32(0), probs)[None]

    return rank_in_blocks(targets, answers())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--test", action="store_true", help="the test part, not validation")
    args = parser.parse_args()

    store, checkpoint = EventStore.open(args.store), Checkpoint.open(args.checkpoint)
    in_torch = predict_part(store, checkpoint, "test" if args.test else "validation")
    on_sdk = replay(Predictor.load(args.bundle, max_ahead=None, foreign="bundle"), store, in_torch.targets)
    counts = checkpoint.behavior_counts
    torch_metrics = evaluate_predictions(in_torch, counts)
    sdk_metrics = evaluate_predictions(on_sdk, counts)
    print(f"{len(on_sdk):,} predictions; the same top 1 in {np.mean(in_torch.predicted == on_sdk.predicted):.4%}")
    print(f"{'metric':<28}{'evaluate':>12}{'SDK':>12}")
    for name, value in torch_metrics.items():
        mark = "" if value == sdk_metrics[name] else "  differs"
        print(f"{name:<28}{value:>12.6f}{sdk_metrics[name]:>12.6f}{mark}")


if __name__ == "__main__":
    main()
