"""Events per second that one process takes in for many active users.

    python research/measure_streams.py
    python research/measure_streams.py --users 10000 --shape 128x2 --threads 2

Every user has a full window behind them; each round every user does one thing more, which is
observed and taken in by the network (`Predictor.observe_many`, `Predictor.advance`), and with
--predict answered too. Random weights, which take as long as trained ones.
"""

import argparse
import resource
import time

import numpy as np
import torch

from edgebehave import Predictor
from edgebehave.vocabulary import Vocabulary
from edgebehave_export.bench.benchmark import opened_bundle
from edgebehave_export.bundle import export_graphs
from edgebehave_export.graphs.graph_builder import graph_bytes
from edgebehave_export.quantization import quantize_graphs
from edgebehave_train.model.behavior_model import BehaviorModel
from reproduce_latency import model_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--shape", default="128x2", metavar="WIDTHxLAYERS")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds")
    parser.add_argument("--predict", action="store_true", help="and ask for the five best")
    args = parser.parse_args()
    torch.manual_seed(0)
    config = model_config(args.shape)
    model = BehaviorModel(config).eval()
    names = [f"event {i}" for i in range(1, config.num_events)]
    locations = [f"place {i}" for i in range(1, config.num_locations)]
    graphs = graph_bytes(quantize_graphs(export_graphs(model)))
    bundle = opened_bundle(model, Vocabulary.identity(names, locations), graphs)
    predictor = Predictor(bundle, state_mb=1e5, max_ahead=None)
    users, rng = [f"user {u}" for u in range(args.users)], np.random.default_rng(0)
    clock_s = 1_772_000_000

    def round_of_events() -> None:
        nonlocal clock_s
        clock_s += 600
        events = [names[i] for i in rng.integers(0, len(names), len(users))]
        at = [locations[i] for i in rng.integers(0, len(locations), len(users))]
        predictor.observe_many(users, events, at=clock_s, location=at, utc_offset_min=60)

    for _ in range(config.window):
        round_of_events()
    predictor.advance(users, threads=args.threads)
    seconds = []
    for _ in range(args.rounds):
        started = time.perf_counter()
        round_of_events()
        predictor.advance(users, threads=args.threads)
        if args.predict:
            predictor.predict_many(users, 5, at=clock_s, threads=args.threads)
        seconds.append(time.perf_counter() - started)
        print(f"{args.users / seconds[-1]:,.0f} events/s", flush=True)
    resident_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{args.users:,} users, {args.shape}, {args.threads} threads, int8: median "
        f"{args.users / np.median(seconds):,.0f} events/s, {resident_mb:,.0f} MB resident"
    )


if __name__ == "__main__":
    main()
