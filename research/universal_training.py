"""Train the universal model that ships: random worlds, and beside them the logs whose weights may be shipped.

    python research/universal_training.py --data FOLDER --from runs/worlds --seed 0 -o runs/universal
    python research/universal_training.py --data FOLDER --from runs/worlds --leave-out KAIST -o runs/without_kaist

The run starts from a model of random worlds alone (`edgebehave universal -o runs/worlds`), or from random weights
without --from. Logs: KAIST, ATUS and the web panel, of which visits of the same site in a row count once. A figure on
one of them must come from a run that left it out. The same command with --resume goes on with a run that was stopped.
"""

import argparse
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch

from compare_worlds import REAL_LOGS, users_of
from edgebehave_cli.console import note
from edgebehave_cli.progress import UniversalBar
from edgebehave_train.files import file_digest
from edgebehave_train.universal.pretraining import WEIGHTS_FILE, UniversalTrainConfig, pretrain_universal
from edgebehave_train.universal.sequences import User

LOGS = {
    "KAIST": "distracting contexts of students (Kaist-ICLab, MIT)",
    "web, switches": "web panel (gesistsa/webtrackR, MIT)",
    "ATUS": "American Time Use Survey 2014 (U.S. Bureau of Labor Statistics, public domain)",
}
"""{name of the log: its source, as it stands in the bundle}."""
STEPS, LEARNING_RATE = 1000, 1e-3


def fingerprint(users: Iterable[User]) -> str:
    digest = sha256()
    for columns in users:
        for column in columns:
            digest.update(column.astype("<i8").tobytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("EDGEBEHAVE_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="the research logs; or EDGEBEHAVE_DATA")
    parser.add_argument("--from", type=Path, dest="start", help="folder of a universal model to start from")
    parser.add_argument("--leave-out", choices=LOGS, help="a log that takes no part")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the run")
    args = parser.parse_args()
    if args.data is None:
        parser.error("name the folder of the research logs by --data or EDGEBEHAVE_DATA")
    torch.set_num_threads(1)
    logs = {log: users_of(REAL_LOGS[log], args.data) for log in LOGS if log != args.leave_out}
    config = UniversalTrainConfig(
        steps=args.steps,
        learning_rate=args.learning_rate,
        seed=args.seed,
        logs=tuple(f"{LOGS[log]} {fingerprint(users)}" for log, users in logs.items()),
        start=file_digest(args.start / WEIGHTS_FILE) if args.start else "",
    )
    with UniversalBar("go on with: the same command and --resume") as bar:
        pretrain_universal(
            config, args.out, resume=args.resume, logs=list(logs.values()), start=args.start, on_progress=bar.report
        )
    note(f"mean loss of the last steps {bar.loss:.4f} nats -> {args.out}")


if __name__ == "__main__":
    main()
