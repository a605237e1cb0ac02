"""Measure what a bundle gives away about a training user: can someone who knows a history tell that it was trained on?

    python research/membership_inference.py STORE -o FOLDER --min-users 1 5

Half of the users of a log train a model, a twentieth chooses its weights, the others are strangers of the same log. An
attacker has the bundle and the whole history of a person, and scores how well the two fit:

own names   share of the person's names, of events and locations, that the vocabulary holds
loss        mean log probability of the person's behaviors by the model
loss gap    the same above what the person's own frequencies give, which says how easy the person is to predict
baseline    these frequencies alone, without a bundle

Each row has the area under the ROC curve of members against strangers (0.5 is a coin), with a 95 % interval by
bootstrap over persons, and the accuracy for strangers, so that the price of a larger --min-users is seen beside it.
Nothing is trained twice: a finished model in FOLDER is used again.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import TEST, TRAIN, SplitConfig, part_of_event
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import finished_run
from edgebehave_train.training.recipes import PRESETS

Floats = npt.NDArray[np.float64]
_SPLIT = SplitConfig(by="user", train=0.475, validation=0.05)
_TINY = 1e-9


def area_under_curve(members: Floats, strangers: Floats) -> float:
    """Probability that a member scores higher than a stranger; ties count half."""
    ordered = np.sort(strangers)
    below = np.searchsorted(ordered, members, "left") + np.searchsorted(ordered, members, "right")
    return float(below.mean() / 2 / len(strangers))


def interval(members: Floats, strangers: Floats, resamples: int = 1000) -> tuple[float, float]:
    """95 % interval of the area by bootstrap over persons."""
    draw = np.random.default_rng(0)
    areas = [
        area_under_curve(draw.choice(members, len(members)), draw.choice(strangers, len(strangers)))
        for _ in range(resamples)
    ]
    low, high = np.quantile(areas, [0.025, 0.975])
    return float(low), float(high)


def drawn_users(store: EventStore, part: int, num_users: int) -> npt.NDArray[np.int64]:
    """Users of a part with at least ten events, by a fixed shuffle."""
    first = store.user_start[:-1]
    is_wanted = (part_of_event(store, _SPLIT)[np.minimum(first, store.num_events - 1)] == part) & (
        np.diff(store.user_start) >= 10
    )
    return np.sort(np.random.default_rng(0).permutation(np.flatnonzero(is_wanted))[:num_users])


def own_names(store: EventStore, checkpoint: Checkpoint, users: npt.NDArray[np.int64]) -> Floats:
    """(U,) share of the distinct names of each user that the vocabulary holds."""
    shares = []
    for user in users.tolist():
        span = slice(store.user_start[user], store.user_start[user + 1])
        known = total = 0
        for column, kind in ((store.event, "events"), (store.location, "locations")):
            ids = np.unique(column[span])
            ids = ids[ids > 0]
            there = checkpoint.vocabulary.translate(store.vocabulary, kind)[ids]
            known, total = known + int((there > 0).sum()), total + len(ids)
        shares.append(known / max(1, total))
    return np.array(shares)


def losses(store: EventStore, checkpoint: Checkpoint, users: npt.NDArray[np.int64]) -> tuple[Floats, Floats, float]:
    """(U,) mean log probability by the model, (U,) by the user's own frequencies, and HR@1 of all targets."""
    log = map_log(store, checkpoint.vocabulary)
    part = part_of_event(store, _SPLIT)
    behaviors = log.behavior_log(part == TRAIN, 0)
    is_asked = np.zeros(store.num_events, bool)
    for user in users.tolist():
        is_asked[store.user_start[user] : store.user_start[user + 1]] = True
    targets: Targets = behaviors.targets(is_asked)
    log_p, is_hit = np.zeros(len(targets)), np.zeros(len(targets), bool)
    for which, probs_RC in target_probs(checkpoint.load_model(), log, behaviors, targets, 0):
        wanted = targets.behavior[which]
        own = np.where(wanted > 0, probs_RC[np.arange(len(which)), np.maximum(wanted, 0)], 0)
        log_p[which] = np.log(np.maximum(own, _TINY))
        is_hit[which] = (probs_RC[:, 1:].argmax(1) + 1 == wanted) & (wanted > 0)
    by_model, by_frequency = [], []
    for user in users.tolist():
        mine = targets.user == user
        counts = np.bincount(targets.behavior[mine])
        share = counts[counts > 0] / counts.sum()
        by_model.append(log_p[mine].mean())
        by_frequency.append(float((share * np.log(share)).sum()))
    return np.array(by_model), np.array(by_frequency), float(is_hit.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--min-users", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--users", type=int, default=300, help="members, and strangers, at most")
    given = parser.parse_args()
    store = EventStore.open(given.store)
    members, strangers = (drawn_users(store, part, given.users) for part in (TRAIN, TEST))
    print(f"{len(members)} members, {len(strangers)} strangers, {given.epochs} epochs of {given.preset}\n")
    print("| min_users | names | HR@1 of strangers | attack | AUC | 95 % |")
    print("|---|---|---|---|---|---|")
    for min_users in given.min_users:
        config = PRESETS[given.preset](epochs=given.epochs, split=_SPLIT, min_users=min_users)
        checkpoint, _ = finished_run(store, config, given.out / f"min_users_{min_users}")
        vocabulary = checkpoint.vocabulary
        names = [own_names(store, checkpoint, users) for users in (members, strangers)]
        model_m, frequency_m, _ = losses(store, checkpoint, members)
        model_s, frequency_s, hits = losses(store, checkpoint, strangers)
        attacks = {
            "own names": names,
            "loss": [model_m, model_s],
            "loss gap": [model_m - frequency_m, model_s - frequency_s],
            "baseline": [frequency_m, frequency_s],
        }
        for attack, (of_members, of_strangers) in attacks.items():
            low, high = interval(of_members, of_strangers)
            print(
                f"| {min_users} | {vocabulary.num_events + vocabulary.num_locations - 2:,} | {hits:.3f} | {attack} "
                f"| {area_under_curve(of_members, of_strangers):.3f} | {low:.3f} to {high:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
