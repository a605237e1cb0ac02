"""Mean loss of universal models on random worlds that no training draws: it chooses among seeds.

    python research/held_out_worlds.py runs/universal0 runs/universal1 runs/universal2

Prints nats per query of each run, with the 95 % half width of its mean over batches, and the run of the lowest loss.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from edgebehave_train.universal.pretraining import UniversalTrainConfig, WorldBatches, load_universal

SEED = 1 << 40
"""Beyond the seeds of any training that the docs name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of universal models")
    parser.add_argument("--batches", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {run: load_universal(run) for run in args.runs}
    losses: dict[Path, list[float]] = {run: [] for run in models}
    batches = WorldBatches(UniversalTrainConfig(seed=SEED, steps=args.batches))
    for step in range(args.batches):
        batch = batches[step]
        for run, model in models.items():
            with torch.inference_mode():
                losses[run].append(float(model(batch.sequences, batch.query, batch.is_timed).nll().mean()))
    for run, of_run in losses.items():
        print(f"{run}: {np.mean(of_run):.4f} ± {1.96 * np.std(of_run) / len(of_run) ** 0.5:.4f} nats")
    print(f"lowest: {min(losses, key=lambda run: np.mean(losses[run]))}")


if __name__ == "__main__":
    main()
