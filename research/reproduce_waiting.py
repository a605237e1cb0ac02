"""Calibration of the SDK's p(nothing happens within some time): the table of docs/experiments.md.

    python research/reproduce_waiting.py CHECKPOINT STORE BUNDLE

The bundle is that of the checkpoint, which was trained with `--set generation_heads=true`. Every
behavior of the validation part ends a waiting time that began at the behavior before it. After some
of this time without a behavior, the SDK predicts what happens within some more time.

Brier: mean square of p(nothing) - [nothing came]. "constant rate" is exp(-rate * time) with
the user's own behaviors per second so far; "share" is the share of the training part in the same
row, one number for all users. ECE: ten groups of equal size by p(nothing), mean |predicted - observed|.
"""

import argparse
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave import Predictor
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import PARTS, TRAIN, part_of_event
from edgebehave_train.training.checkpoint import Checkpoint
from replay_on_sdk import replayed

WAITED_MIN = (0, 60)
WITHIN_MIN = (30, 120, 720)
_NUM_GROUPS = 10

FloatArray = npt.NDArray[np.float64]


def asked(
    predictor: Predictor, store: EventStore, is_asked: npt.NDArray[np.bool_]
) -> dict[tuple[int, int], FloatArray]:
    """For each (waited, within) in minutes: p(nothing), that of a constant rate, and whether
    nothing came, (questions, 3)."""
    rows: dict[tuple[int, int], list[tuple[float, float, bool]]] = {
        (waited, within): [] for waited in WAITED_MIN for within in WITHIN_MIN
    }
    last_s: int | None = None
    first_s = user = num_gaps = -1
    for index, position, event in replayed(predictor, store):
        if index != user:
            user, num_gaps, last_s, first_s = index, 0, None, -1
        if last_s is not None and is_asked[position] and num_gaps:
            gap_s, rate = event.time_s - last_s, num_gaps / max(last_s - first_s, 1)
            for (waited, within), answers in rows.items():
                if gap_s <= 60 * waited:
                    continue
                _, probs = predictor.probabilities(
                    store.users()[index],
                    at=last_s + 60 * waited,
                    within=timedelta(minutes=within),
                )
                nothing_came = gap_s > 60 * (waited + within)
                constant = np.exp(-rate * 60 * within)
                answers.append((float(probs[-1]), float(constant), nothing_came))
        if event.behavior is not None:
            num_gaps += last_s is not None
            first_s = event.time_s if last_s is None else first_s
            last_s = event.time_s
    return {cell: np.array(answers, np.float64) for cell, answers in rows.items()}


def training_gaps(store: EventStore, is_train: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Seconds between adjacent behaviors of a user, both in the training part."""
    chosen = np.flatnonzero((np.asarray(store.behavior) > 0) & is_train)
    user = np.searchsorted(store.user_start, chosen, side="right")
    gaps = np.diff(np.asarray(store.time_s)[chosen])
    return gaps[np.diff(user) == 0]


def calibration_error(said: FloatArray, came: FloatArray) -> float:
    """ECE over groups of equal size."""
    order = np.argsort(said, kind="stable")
    groups = np.array_split(order, _NUM_GROUPS)
    errors = [len(g) * abs(said[g].mean() - came[g].mean()) for g in groups if len(g)]
    return float(sum(errors) / len(said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("bundle", type=Path)
    args = parser.parse_args()
    started, store = time.monotonic(), EventStore.open(args.store)
    parts = part_of_event(store, Checkpoint.open(args.checkpoint).config.split)
    is_asked = (parts == PARTS["validation"]) & (np.asarray(store.behavior) > 0)
    gaps = training_gaps(store, parts == TRAIN)
    answers = asked(Predictor.load(args.bundle, max_ahead=None), store, is_asked)
    print("| waited | within | questions | nothing came | Brier | constant rate | share | ECE |")
    print("|---" * 8 + "|")
    for (waited, within), rows in answers.items():
        said, constant, came = rows.T
        still = gaps > 60 * waited
        share = float((gaps > 60 * (waited + within)).sum() / max(1, still.sum()))
        scores = [float(((p - came) ** 2).mean()) for p in (said, constant, share)]
        cells = " | ".join(f"{score:.4f}" for score in scores)
        print(
            f"| {waited} min | {within} min | {len(came):,} | {came.mean():.3f} | {cells} | "
            f"{calibration_error(said, came):.3f} |"
        )
    print(f"\ndata {store.fingerprint[:16]}, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
