"""Comparison of two bundles of one checkpoint, fp32 and int8, on the validation part of its log.

    python research/compare_precisions.py runs/edge runs/store runs/bundle-fp32 runs/bundle-int8

Both answer every question as an app would ask it, event by event. Prints how often they agree on
the most probable behavior, what they share of the five best, and the recall of each on behaviors
above 5 % (head), of 1 to 5 % (medium) and below 1 % (tail) of the training events.
"""

import argparse
from pathlib import Path

import numpy as np

from edgebehave import Predictor
from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training.checkpoint import Checkpoint
from replay_on_sdk import asked_before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "store", "fp32", "int8"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    store, checkpoint = EventStore.open(args.store), Checkpoint.open(args.checkpoint)
    targets = predict_part(store, checkpoint, "validation").targets
    best_NK = {}
    for name in ("fp32", "int8"):
        predictor = Predictor.load(getattr(args, name), max_ahead=None)
        best_NK[name] = np.empty((len(targets), 5), dtype=object)
        for row, user, moment in asked_before(predictor, store, targets):
            best = [one.behavior for one in predictor.predict(user, 5, **moment)]
            best_NK[name][row, : len(best)] = best
    fp32, int8 = best_NK["fp32"], best_NK["int8"]
    shared = [len(set(one) & set(other)) / len(set(one)) for one, other in zip(fp32, int8, strict=True)]
    print(f"{len(targets):,} predictions of {args.checkpoint}")
    print(f"same top-1 {(fp32[:, 0] == int8[:, 0]).mean():.4%}, top-5 shared {np.mean(shared):.4%}")
    names = checkpoint.vocabulary.behaviors
    share = checkpoint.behavior_counts / checkpoint.behavior_counts.sum()
    known = targets.behavior < len(names)
    for group, low, high in (("head", 0.05, 2), ("medium", 0.01, 0.05), ("tail", 0, 0.01)):
        inside = np.flatnonzero(known)
        of_target = share[targets.behavior[inside]]
        inside = inside[(of_target >= low) & (of_target < high)]
        truth = np.array([names[b] for b in targets.behavior[inside]], dtype=object)
        recall = [float((best[inside, 0] == truth).mean()) for best in (fp32, int8)]
        print(f"{group}: recall fp32 {recall[0]:.4f}, int8 {recall[1]:.4f}, of {len(inside):,}")


if __name__ == "__main__":
    main()
