"""A cascade: the edge model answers, and the language model where the edge model is unsure.

    python research/reproduce_behaviorlm.py claims STORE -o OUT --base smollm2 --checkpoint runs/edge ...
    python research/reproduce_cascade.py OUT --edge checkpoint-edge --llm A_+_B-smollm2-seed0

Reads the probabilities that the first command kept, so it asks no model. The edge model is unsure where its most
probable behavior has a probability below a threshold. The threshold is a quantile of that probability on the samples as
users give them, which sets the share of questions that are asked of the language model; the same threshold then holds
for the balanced samples, more of which are asked. `its answer`: the language model's most probable behavior replaces
the edge model's; `product`: the most probable by the product of both probabilities. Intervals: 95 % by bootstrap over
users, of the difference from the edge model alone, paired.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

SHARES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
NUM_RESAMPLES = 2000
Probs = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


def answers(edge_SV: Probs, llm_SV: Probs, asked_S: Bools, how: str) -> npt.NDArray[np.int64]:
    """The behavior that the cascade names for each sample."""
    second_SV = edge_SV * llm_SV if how == "product" else llm_SV
    return np.where(asked_S, second_SV.argmax(1), edge_SV.argmax(1))


def recalls(
    hit_S: Bools | npt.NDArray[np.float64], group_S: npt.NDArray[np.int64], user_S: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Mean over groups of the share of hits, of all samples first, then of resamples of the users."""
    users, user_S = np.unique(user_S, return_inverse=True)
    groups, group_S = np.unique(group_S, return_inverse=True)
    counts_UG2 = np.zeros((len(users), len(groups), 2))
    np.add.at(counts_UG2, (user_S, group_S, 0), hit_S)
    np.add.at(counts_UG2, (user_S, group_S, 1), 1)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(users), np.full(len(users), 1 / len(users)), NUM_RESAMPLES)
    sums = np.tensordot(np.concatenate([np.ones((1, len(users))), weights]), counts_UG2, 1)
    with np.errstate(invalid="ignore"):  # a resample may lack a behavior
        mean: npt.NDArray[np.float64] = np.nanmean(sums[..., 0] / sums[..., 1], axis=1)
    return mean


def shown(values: npt.NDArray[np.float64], alone: npt.NDArray[np.float64]) -> str:
    low, high = np.percentile((values - alone)[1:], [2.5, 97.5])
    return f"{values[0]:.3f} ({values[0] - alone[0]:+.3f} [{low:+.3f}, {high:+.3f}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of reproduce_behaviorlm.py")
    parser.add_argument("--edge", required=True, help="name of a row's file")
    parser.add_argument("--llm", required=True, help="name of a row's file")
    parser.add_argument("--adjusted", action="store_true", help="divide the edge model's probabilities by the shares")
    args = parser.parse_args()
    asked = np.load(args.out / "asked.npz")
    edge, llm = (dict(np.load(args.out / f"{name}.npz")) for name in (args.edge, args.llm))
    sure = {protocol: probs.max(1) for protocol, probs in edge.items()}
    if args.adjusted:
        edge = {protocol: probs / np.maximum(asked["shares"], 1e-9) for protocol, probs in edge.items()}
    print("| asked, of users | of balanced | second | HR@1, users | macro recall, balanced |\n|---|---|---|---|---|")
    behavior, user = ({p: asked[f"{p}_{name}"] for p in edge} for name in ("behavior", "user"))
    for how in ("its answer", "product"):
        for share in SHARES:
            if share == 0 and how == "product":
                continue
            limit = np.quantile(sure["users"], share) if share < 1 else np.inf
            is_asked = {p: (sure[p] < limit) & (share > 0) for p in edge}
            hit = {p: answers(edge[p], llm[p], is_asked[p], how) == behavior[p] for p in edge}
            hr = recalls(hit["users"], np.zeros_like(user["users"]), user["users"])
            macro = recalls(hit["balanced"], behavior["balanced"], user["balanced"])
            if share == 0:
                alone = hr, macro
            print(
                f"| {is_asked['users'].mean():.0%} | {is_asked['balanced'].mean():.0%} | {how if share else '-'} "
                f"| {shown(hr, alone[0])} | {shown(macro, alone[1])} |"
            )
    rows = [json.loads((args.out / f"{name}.json").read_text()) for name in (args.edge, args.llm)]
    print(f"\nsamples {rows[0]['samples']}, data {rows[0]['data'][:16]}, commits {[row['commit'] for row in rows]}")


if __name__ == "__main__":
    main()
