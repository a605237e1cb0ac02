"""Differences between rows of `reproduce_behaviorlm.py` on the same samples, paired.

    python research/reproduce_behaviorlm.py claims STORE -o OUT --base smollm2 --seeds 0 1 2
    python research/compare_language_rows.py OUT --reference A_+_B-smollm2

Reads the probabilities that the first command kept, so it asks no model. A row is a name of a file without `-seedN`;
the hits of its seeds are averaged sample by sample. Every row minus the reference: accuracy on balanced samples, on
those of the tail, and on the samples of users; 95 % by bootstrap over users, which leaves out what another seed of
tuning would change. `adjusted`: every probability divided by the share of the behavior in the training part.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reproduce_cascade import recalls, shown

TAIL = 0.01
"""Share of the training part below which a behavior is of the tail."""
_SEED = re.compile(r"-seed\d+$")
Floats = npt.NDArray[np.float64]


def hits_of(out: Path, row: str, asked: dict[str, npt.NDArray[Any]], adjusted: bool) -> dict[str, Floats]:
    """Protocol -> share of the seeds of a row that are right, for each sample."""
    files = [file for file in sorted(out.glob("*.npz")) if _SEED.sub("", file.stem) == row]
    if not files:
        raise SystemExit(f"{out} has no row {row}; it has {', '.join(rows_of(out))}")
    shares = np.maximum(asked["shares"].astype(np.float64), 1e-9) if adjusted else 1.0
    found: dict[str, list[Floats]] = {"balanced": [], "users": []}
    for file in files:
        kept = np.load(file)
        for protocol, hits in found.items():
            hits.append(((kept[protocol] / shares).argmax(1) == asked[f"{protocol}_behavior"]).astype(np.float64))
    return {protocol: np.mean(hits, 0) for protocol, hits in found.items()}


def rows_of(out: Path) -> list[str]:
    return sorted({_SEED.sub("", file.stem) for file in out.glob("*.npz")} - {"asked"})


def means(hits: dict[str, Floats], asked: dict[str, npt.NDArray[Any]]) -> list[Floats]:
    """Balanced, tail and users: of all samples first, then of resamples of the users."""
    tail_S = asked["shares"][asked["balanced_behavior"]] < TAIL
    user_S = asked["balanced_user"]
    parts = [(hits["balanced"], user_S), (hits["balanced"][tail_S], user_S[tail_S])]
    parts.append((hits["users"], asked["users_user"]))
    return [recalls(hit_S, np.zeros(len(hit_S), np.int64), users_S) for hit_S, users_S in parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of reproduce_behaviorlm.py")
    parser.add_argument("--reference", required=True, help="row that is subtracted, as it is")
    parser.add_argument("--rows", nargs="+", help="default: all")
    args = parser.parse_args()
    asked = dict(np.load(args.out / "asked.npz"))
    reference = means(hits_of(args.out, args.reference, asked, adjusted=False), asked)
    print(f"| minus {args.reference} | overall, balanced | tail | users |\n|---|---|---|---|")
    for adjusted in (False, True):
        for row in args.rows or rows_of(args.out):
            values = means(hits_of(args.out, row, asked, adjusted), asked)
            cells = [shown(one, alone) for one, alone in zip(values, reference, strict=True)]
            print(f"| {'*adjusted:* ' if adjusted else ''}{row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
