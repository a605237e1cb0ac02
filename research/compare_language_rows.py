"""Differences between rows of `reproduce_behaviorlm.py` on the same samples, paired.

    python research/reproduce_behaviorlm.py claims STORE -o OUT --base smollm2 --seeds 0 1 2
    python research/compare_language_rows.py OUT --reference A_+_B-smollm2

Reads the probabilities that the first command kept, so it asks no model. A row is a name of a file without `-seedN`.
Every row minus the reference: accuracy on balanced samples, on those of the tail, and on the samples of users; the
difference of each seed that both have stands behind. 95 % by bootstrap over users and seeds, both drawn anew together;
of one seed over users, which leaves out what another seed of tuning would change. `adjusted`: every probability divided
by the share of the behavior in the training part.
"""

# S samples, R resamples after the value itself, K seeds

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


def difference(row_KR: Floats, reference_KR: Floats) -> str:
    """Mean of the row and its difference with the interval, and the difference of each seed if there are several."""
    difference_KR = row_KR - reference_KR
    num_seeds, num_resamples = len(difference_KR), difference_KR.shape[1] - 1
    drawn = np.random.default_rng(0).integers(num_seeds, size=(num_seeds, num_resamples))
    low, high = np.percentile(difference_KR[drawn, np.arange(1, num_resamples + 1)].mean(0), [2.5, 97.5])
    by_seed = "" if num_seeds == 1 else f"; {', '.join(f'{one:+.3f}' for one in difference_KR[:, 0])}"
    return f"{row_KR[:, 0].mean():.3f} ({difference_KR[:, 0].mean():+.3f} [{low:+.3f}, {high:+.3f}]{by_seed})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of reproduce_behaviorlm.py")
    parser.add_argument("--reference", required=True, help="row that is subtracted, as it is")
    parser.add_argument("--rows", nargs="+", help="default: all that share a seed with the reference")
    args = parser.parse_args()
    asked = dict(np.load(args.out / "asked.npz"))
    reference = files_of(args.out, args.reference)
    of_reference = {seed: accuracies(file, asked, adjusted=False) for seed, file in reference.items()}
    print(f"| minus {args.reference} | seeds | overall, balanced | tail | users |\n|---|---|---|---|---|")
    for adjusted in (False, True):
        for row in args.rows or rows_of(args.out):
            files = files_of(args.out, row)
            of_row = {seed: accuracies(file, asked, adjusted) for seed, file in files.items()}
            seeds: list[int | None] = sorted(of_row.keys() & of_reference.keys(), key=str)
            pairs = [(of_row[seed], of_reference[seed]) for seed in seeds]
            if None in of_row or None in of_reference:  # what has no seeds is the same beside each of the other's
                pairs = [(one, other) for one in of_row.values() for other in of_reference.values()]
            if not pairs:
                continue
            row_KMR, reference_KMR = (np.array(side) for side in zip(*pairs, strict=True))  # M: the three metrics
            cells = [difference(row_KMR[:, m], reference_KMR[:, m]) for m in range(row_KMR.shape[1])]
            print(f"| {'*adjusted:* ' if adjusted else ''}{row} | {len(pairs)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
