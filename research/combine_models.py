"""Ways to combine a named model and the universal model tuned to its log, on the validation part.

    python research/combine_models.py CHECKPOINT --store STORE

CHECKPOINT is of a training from the universal model. The numbers of each way are fitted to one half of the users (of
each user's targets, where there are fewer than eight users) and measured on the other. Rows:

linear           p = w U + (1 - w) N
log              p ~ U^u N^n exp(x [unused]), three numbers: what `edgebehave train` fits
log, context     the same with powers that are linear in events seen, entropies, and the probability of a new name
log, success     the same, and in both models' mean log p of the last 4, 16 and 64 validation targets of the user
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgebehave.answers.combination import terms
from edgebehave_train.evaluation.part_predictions import checkpoint_targets
from edgebehave_train.logs.behavior_log import Targets
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k
from edgebehave_train.metrics.ranking import Ranking
from edgebehave_train.metrics.scoring import named_probs
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.universal.own_names import own_probs

SPANS = (4.0, 16.0, 64.0)


def success(log_probs_T: Tensor, user_T: Tensor) -> Tensor:
    """(T, spans) means of log p of the targets before each, of the same user."""
    means = torch.zeros(len(log_probs_T), len(SPANS))
    for column, span in enumerate(SPANS):
        kept, total, weight, user = float(np.exp(-1 / span)), 0.0, 0.0, -1
        for row, value in enumerate(log_probs_T.clamp_min(-8).tolist()):
            if int(user_T[row]) != user:
                total, weight, user = 0.0, 0.0, int(user_T[row])
            means[row, column] = (total - 2) / (weight + 1)
            total, weight = kept * total + value, kept * weight + 1
    return means


def fitted(features: Tensor, context: Tensor, target: Tensor, is_candidate: Tensor, fold: Tensor) -> Tensor:
    """Scores (T, C) of features (T, C, K), powers linear in a context (T, Z); each half by a fit to the other."""
    scores = torch.zeros(features.shape[:2])
    normal = (context - context.mean(0)) / context.std(0).clamp_min(1e-3)
    for half in (0, 1):
        rows = torch.nonzero((fold != half) & (target > 0))[:, 0]
        power = nn.Linear(context.shape[1], features.shape[2])
        nn.init.zeros_(power.weight)
        power.bias.data = torch.tensor([0.5, 0.5, 0.0])
        optimizer = torch.optim.AdamW(power.parameters(), lr=0.03, weight_decay=0.01)
        draw = torch.Generator().manual_seed(half)
        for step in range(300):
            some = rows[torch.randint(len(rows), (min(len(rows), 1024),), generator=draw)]
            found = (features[some] * power(normal[some])[:, None]).sum(-1).masked_fill(~is_candidate[some], -1e9)
            loss = nn.functional.cross_entropy(found, target[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 300)
        with torch.no_grad():
            scores[fold == half] = (features * power(normal)[:, None]).sum(-1)[fold == half]
    return scores.masked_fill(~is_candidate, -1e9)


def show(name: str, log_probs: Tensor, targets: Targets) -> None:
    ranking = Ranking(targets)
    ranking.add(slice(None), log_probs.numpy())
    found = ranking.finish()
    known = torch.from_numpy(np.flatnonzero(targets.behavior > 0))
    of_target = log_probs.log_softmax(1)[known, torch.from_numpy(targets.behavior)[known]]
    hits = " | ".join(f"{hit_rate_at_k(found, k).mean():.4f}" for k in (1, 3, 5))
    print(f"| {name} | {hits} | {-of_target.mean():.4f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = Checkpoint.open(args.checkpoint)
    asked = checkpoint_targets(EventStore.open(args.store), checkpoint, "validation")
    model, targets = checkpoint.load_model(), asked.targets
    if model.lookup is None:
        parser.error(f"{args.checkpoint} was not trained from the universal model")
    named = np.zeros((len(targets), asked.behaviors.num_candidates), np.float32)
    own = np.zeros_like(named)
    for which, block in named_probs(model, asked.log, asked.behaviors, targets):
        named[which] = block
    for which, block in own_probs(model.lookup.model, asked.behaviors, targets):
        own[which] = block
    log_universal, log_named, is_used, is_candidate = (torch.from_numpy(part) for part in terms(named, own))
    closed, target = ~is_candidate, torch.from_numpy(targets.behavior)
    of = [part.float().masked_fill(closed, -1e9).log_softmax(1) for part in (log_universal, log_named)]
    features = torch.stack([*(part.masked_fill(closed, 0) for part in of), (~is_used).float()], -1)
    users, number = np.unique(targets.user, return_inverse=True)
    fold = torch.from_numpy(np.random.default_rng(0).permutation(len(users))[number] % 2)
    if len(users) < 8:
        first = np.searchsorted(number, np.arange(len(users)))
        fold = torch.from_numpy((np.arange(len(number)) - first[number]) * 2 // np.bincount(number)[number])
    print("| Targets of the validation part | HR@1 | HR@3 | HR@5 | -log p |\n|---|---|---|---|---|")
    show("universal, tuned to the log", of[0], targets)
    show("named", of[1], targets)
    for share in (0.3, 0.5, 0.7):
        show(f"linear, w = {share}", (share * of[0].exp() + (1 - share) * of[1].exp()).clamp_min(1e-12).log(), targets)
    seen = torch.from_numpy(targets.row - asked.behaviors.user_start[targets.user]).float()
    entropies = [-(part.exp() * part.masked_fill(closed, 0)).sum(1) for part in of]
    new = torch.from_numpy(1 - own.sum(1))
    context = torch.stack([torch.log1p(seen), *entropies, new], 1)
    came = [part.gather(1, target.clamp_min(1)[:, None])[:, 0] for part in of]
    past = torch.cat([success(part, torch.from_numpy(targets.user)) for part in came], 1)
    show("log", fitted(features, 0 * context, target, is_candidate, fold), targets)
    show("log, context", fitted(features, context, target, is_candidate, fold), targets)
    show("log, success", fitted(features, torch.cat([context, past], 1), target, is_candidate, fold), targets)


if __name__ == "__main__":
    main()
