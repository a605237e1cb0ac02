"""Make the table and the figure of the training objectives: one command per log.

    python research/reproduce_objectives.py tokyo --data FOLDER
    python research/reproduce_objectives.py tokyo --data FOLDER --no-habits
    python research/reproduce_objectives.py simulator

FOLDER holds the research logs, as for reproduce_tables.py. Everything is done by
`edgebehave compare`, which is printed as it runs. The test part is read for the table unless
`--part validation` is given. Finished checkpoints are kept; a killed run goes on where it was.
"""

import argparse
import json
from pathlib import Path

from research_logs import LOGS, ingested
from verbs import commit, run

OBJECTIVES = (
    "ce",
    "dro",
    "dro:capacity=1.3:kappa=0",
    "dro:capacity=1.5:kappa=0.5:mixing=1",
    "logit_adjusted:tau=0.5",
    "balanced_softmax",
    "focal",
    "class_balanced",
    "group_dro",
    "group_dro:mixing=1",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=LOGS)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder for results")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--no-habits", action="store_true", help="the paper's plain model")
    parser.add_argument("--part", default="test", choices=("validation", "test"))
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    args = parser.parse_args()

    out = args.out / args.log
    store = ingested(args.log, args.data, out)
    folder = out / f"objectives-{args.preset}{'-plain' if args.no_habits else ''}"
    command = ["compare", str(store), "-o", str(folder), "--objectives", args.objectives]
    command += [
        "--preset",
        args.preset,
        "--seeds",
        str(args.seeds),
        "--split",
        LOGS[args.log].split,
    ]
    command += ["--part", args.part, "--capacities", "1.05,1.1,1.2,1.3"]
    command += ["--adjust", "0.25,0.5,0.75,1"]
    command += ["--epochs", str(args.epochs)] if args.epochs else []
    command += ["--no-habits"] if args.no_habits else []
    run(*command)
    print((folder / "table.md").read_text())
    table = json.loads((folder / "table.json").read_text())
    print(
        f"commit {commit()}, data {table['data_fingerprint']}, "
        f"seeds 0..{args.seeds - 1}, {table['seconds']:.0f} s; figure {folder / 'frontier.png'}"
    )


if __name__ == "__main__":
    main()
