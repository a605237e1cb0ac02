"""How long and how fast the universal model is tuned to a log, judged by the validation part.

    python research/compare_tuning.py STORE --tuned 2,1e-3 8,2e-3 --named CHECKPOINT

Each setting is PASSES,RATE. With --named, a checkpoint of `edgebehave train --from scratch` on the same store and
split, the tuned model is also measured together with it, as `edgebehave train` combines them. No test target is read.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edgebehave_train.evaluation.part_predictions import checkpoint_targets
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k, reciprocal_rank
from edgebehave_train.metrics.ranking import Ranking
from edgebehave_train.metrics.scoring import named_probs
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.log_parts import LogParts
from edgebehave_train.training.recipes import edge
from edgebehave_train.training.universal_start import SHIPPED, fit_powers
from edgebehave_train.universal.fine_tuning import FineTuneConfig, fine_tune
from edgebehave_train.universal.own_names import own_probs, users_of
from edgebehave_train.universal.pretraining import load_universal


def figures(probs_TC: npt.NDArray[np.floating], targets: Targets) -> str:
    """HR@1, HR@3 and the mean reciprocal rank as cells of a table."""
    ranking = Ranking(targets)
    ranking.add(slice(None), probs_TC)
    found = ranking.finish()
    means = (hit_rate_at_k(found, 1).mean(), hit_rate_at_k(found, 3).mean(), reciprocal_rank(found).mean())
    return " | ".join(f"{mean:.4f}" for mean in means)


def named_answers(path: Path, store: EventStore) -> npt.NDArray[np.float32]:
    """(T, C) answers of a named model alone to the validation targets."""
    checkpoint = Checkpoint.open(path)
    asked = checkpoint_targets(store, checkpoint, "validation")
    probs_TC = np.zeros((len(asked.targets), asked.behaviors.num_candidates), np.float32)
    for which, block in named_probs(checkpoint.load_model(), asked.log, asked.behaviors, asked.targets):
        probs_TC[which] = block
    return probs_TC


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--tuned", nargs="+", required=True, metavar="PASSES,RATE")
    parser.add_argument("--named", type=Path, help="a checkpoint trained from scratch on the same store and split")
    parser.add_argument("--split", choices=("time", "user"), default="time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = EventStore.open(args.store)
    parts = LogParts.of(store, edge(split=SplitConfig(by=args.split)))
    behaviors, targets = parts.behaviors, parts.validation_targets
    users = np.flatnonzero(np.diff(behaviors.user_start))
    asked = parts.is_target[behaviors.event]
    of_user = [asked[behaviors.user_start[user] : behaviors.user_start[user + 1]] for user in users]
    print("| Targets of the validation part | HR@1 | HR@3 | MRR | CPU s |\n|---|---|---|---|---|")
    named_TC = None
    if args.named:
        named_TC = named_answers(args.named, store)
        print(f"| named | {figures(named_TC, targets)} | |")
    for setting in args.tuned:
        passes, rate = setting.split(",")
        config = FineTuneConfig(
            least_passes=int(passes), most_passes=int(passes), learning_rate=float(rate), seed=args.seed
        )
        began = time.process_time()
        tuned = fine_tune(load_universal(SHIPPED), users_of(behaviors, users), of_user, config)
        seconds = time.process_time() - began
        own_TC = np.zeros((len(targets), behaviors.num_candidates), np.float32)
        for which, block in own_probs(tuned, behaviors, targets):
            own_TC[which] = block
        print(f"| tuned, {passes} passes at {rate} | {figures(own_TC, targets)} | {seconds:.0f} |", flush=True)
        if named_TC is not None:
            combined_TC = fit_powers(named_TC, own_TC, targets.behavior).combine(named_TC, own_TC)
            print(f"| together with the named model | {figures(combined_TC, targets)} | |", flush=True)


if __name__ == "__main__":
    main()
