"""Latency of the shapes from tiny to large, with random weights: the table of docs/experiments.md.

    python research/reproduce_latency.py
    python research/reproduce_latency.py --shapes 128x2 128x4 --calls 2000 --json latency.json

A shape is WIDTHxLAYERS. The vocabulary has 250 behaviors and 5,000 locations, a history 512 events.
"""

import argparse
import json
from pathlib import Path

from edgebehave_export.bench.benchmark import FLOOR, BenchTable, benchmark_shape
from edgebehave_train.model.behavior_model import ModelConfig

SHAPES = ("64x2", "128x2", "128x4", "256x4", "512x4", "512x8")
SHOWN = ("two graphs int8", "Predictor int8", "Predictor int8, many users", "window int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="WIDTHxLAYERS")
    parser.add_argument("--no-learned-kernel", action="store_true", help="habit kernels alone")
    parser.add_argument("--calls", type=int, default=1000, help="timed calls of each contender")
    parser.add_argument("--json", type=Path, help="write all rows here")
    args = parser.parse_args()
    tables = {}
    for shape in args.shapes:
        config = model_config(shape, learned_kernel=not args.no_learned_kernel)
        tables[shape] = benchmark_shape(config, args.calls)
        print(tables[shape].to_text(), end="\n\n", flush=True)
    print(summary(tables))
    if args.json:
        args.json.write_text(json.dumps({s: t.to_json() for s, t in tables.items()}, indent=2))


def model_config(shape: str, learned_kernel: bool = True) -> ModelConfig:
    """A model of some width and depth, heads 32 wide, at 64 16."""
    width, num_layers = map(int, shape.split("x"))
    return ModelConfig(
        num_events=251,
        num_locations=5001,
        num_behaviors=251,
        width=width,
        num_layers=num_layers,
        num_heads=max(4, width // 32),
        learned_kernel=learned_kernel,
    )


def summary(tables: dict[str, BenchTable]) -> str:
    """Markdown: how many times as fast as the torch window, and as slow as one pass over the
    weights."""
    lines = ["| shape | torch window, us | " + " | ".join(SHOWN) + " | observe int8 / floor |"]
    lines.append("|---" * (3 + len(SHOWN)) + "|")
    for shape, table in tables.items():
        cells = [f"{table.p50_us('torch window'):.0f}"]
        cells += [f"{table.p50_us(name):.0f} us, {table.speedup(name):.1f}x" for name in SHOWN]
        cells.append(f"{table.p50_us('  observe int8') / table.p50_us(FLOOR):.1f}")
        lines.append(f"| {shape} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
