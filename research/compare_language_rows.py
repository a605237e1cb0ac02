"""Differences between rows of `reproduce_behaviorlm.py` on the same samples, paired.

    python research/reproduce_behaviorlm.py claims STORE -o OUT --base smollm2 --seeds 0 1 2
    python research/compare_language_rows.py OUT [--reference A_+_B-smollm2]

Reads the probabilities that the first command kept, so it asks no model. A row is a name of a file without `-seedN`.
Accuracy on balanced samples, on those of the tail, and on the samples of users; with a reference every row minus it, of
the seeds that both have. The values of the seeds stand behind. 95 % by bootstrap over users and seeds, both drawn anew
together; of one seed over users, which leaves out what another seed of tuning would change. `adjusted`: every
probability divided by the share of the behavior in the training part.
"""

# S samples, R resamples after the value itself, K seeds, M metrics

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reproduce_cascade import recalls

TAIL = 0.01
"""Share of the training part below which a behavior is of the tail."""
_SEED = re.compile(r"-seed(\d+)$")
Floats = npt.NDArray[np.float64]
Accuracies = dict[int | None, list[Floats]]
"""Seed -> balanced, tail and users, each (1 + R,)."""


def files_of(out: Path, row: str) -> dict[int | None, Path]:
    """Seed -> file of a row; None of a row without seeds."""
    files = [file for file in sorted(out.glob("*.npz")) if _SEED.sub("", file.stem) == row]
    if not files:
        raise SystemExit(f"{out} has no row {row}; it has {', '.join(rows_of(out))}")
    seeds = [_SEED.search(file.stem) for file in files]
    return {int(seed[1]) if seed else None: file for seed, file in zip(seeds, files, strict=True)}


def rows_of(out: Path) -> list[str]:
    return sorted({_SEED.sub("", file.stem) for file in out.glob("*.npz")} - {"asked"})


def accuracies(file: Path, asked: dict[str, npt.NDArray[Any]], adjusted: bool) -> list[Floats]:
    """Balanced, tail and users, each (1 + R,): of all samples first, then of resamples of the users."""
    shares = np.maximum(asked["shares"].astype(np.float64), 1e-9) if adjusted else 1.0
    kept = np.load(file)
    balanced_S, users_S = (
        (kept[protocol] / shares).argmax(1) == asked[f"{protocol}_behavior"] for protocol in ("balanced", "users")
    )
    tail_S, user_S = asked["shares"][asked["balanced_behavior"]] < TAIL, asked["balanced_user"]
    parts = [(balanced_S, user_S), (balanced_S[tail_S], user_S[tail_S]), (users_S, asked["users_user"])]
    return [recalls(hit_S, np.zeros(len(hit_S), np.int64), of_S) for hit_S, of_S in parts]


def shown(row_KR: Floats, reference_KR: Floats | None = None) -> str:
    """Mean of a row, or of its difference from a reference behind the mean, with interval and the values of seeds."""
    sign, values_KR = ("", row_KR) if reference_KR is None else ("+", row_KR - reference_KR)
    num_seeds, num_resamples = len(values_KR), values_KR.shape[1] - 1
    drawn = np.random.default_rng(0).integers(num_seeds, size=(num_seeds, num_resamples))
    low, high = np.percentile(values_KR[drawn, np.arange(1, num_resamples + 1)].mean(0), [2.5, 97.5])
    text = f"{values_KR[:, 0].mean():{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
    if num_seeds > 1:
        text += f"; {', '.join(f'{one:{sign}.3f}' for one in values_KR[:, 0])}"
    return text if reference_KR is None else f"{row_KR[:, 0].mean():.3f} ({text})"


def cells(of_row: Accuracies, of_reference: Accuracies | None) -> tuple[int, list[str]]:
    """Number of seeds (or pairs) and what `shown` writes of the three accuracies; no pairs without a common seed."""
    if of_reference is None:
        row_KMR, reference_KMR = np.array([*of_row.values()]), None
    else:
        # What has no seeds is the same beside each seed of the other.
        has_none = None in of_row or None in of_reference
        pairs = [(a, b) for a in of_row for b in of_reference if has_none or a == b]
        if not pairs:
            return 0, []
        row_KMR = np.array([of_row[a] for a, _ in pairs])
        reference_KMR = np.array([of_reference[b] for _, b in pairs])
    num_seeds, num_metrics = row_KMR.shape[:2]
    return num_seeds, [
        shown(row_KMR[:, m], None if reference_KMR is None else reference_KMR[:, m]) for m in range(num_metrics)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of reproduce_behaviorlm.py")
    parser.add_argument("--reference", help="row that is subtracted, as it is")
    parser.add_argument("--rows", nargs="+", help="default: all, with a reference those that share a seed with it")
    args = parser.parse_args()
    asked = dict(np.load(args.out / "asked.npz"))

    def accuracies_of(row: str, adjusted: bool) -> Accuracies:
        return {seed: accuracies(file, asked, adjusted) for seed, file in files_of(args.out, row).items()}

    reference = accuracies_of(args.reference, adjusted=False) if args.reference else None
    title = f"minus {args.reference}" if args.reference else ""
    print(f"| {title} | seeds | overall, balanced | tail | users |\n|---|---|---|---|---|")
    for adjusted in (False, True):
        for row in args.rows or rows_of(args.out):
            num_seeds, texts = cells(accuracies_of(row, adjusted), reference)
            if texts:
                print(f"| {'*adjusted:* ' if adjusted else ''}{row} | {num_seeds} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
