"""Generation by the SDK beside generation in torch: the table of docs/experiments.md.

    python research/reproduce_device_generation.py CHECKPOINT STORE BUNDLE

The bundle is that of the checkpoint, which was trained with `--set generation_heads=true`. Both
continue the same users from the end of the training part, and are measured on what really came in
the validation part: means over users and draws, and the difference with a 95 % interval, paired
over users.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from edgebehave import Predictor
from edgebehave.answers.sampling import Sampling
from edgebehave_train.generation.generation import Continuations, Generator
from edgebehave_train.generation.past import Prompts
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training.checkpoint import Checkpoint
from forecasts import forecast_prompts, real_continuations
from generation_comparison import mean_over_users, measure
from generation_metrics import EXTRA_METRICS, METRICS


class DeviceGenerator:
    """Futures from the SDK, in the ids of a log."""

    def __init__(self, generator: Generator, store: EventStore, bundle: Path) -> None:
        self.log, self.store = generator.log, store
        self.predictor = Predictor.load(bundle, max_ahead=None)
        self.location_of_name = {name: i for i, name in enumerate(generator.location_names.locations)}
        self.generating_s = 0.0
        self.num_generated = 0

    def generate(
        self, prompts: Prompts, num_steps: int, *, seed: int = 0, sampling: Sampling | None = None
    ) -> Continuations:
        """As `Generator.generate`."""
        sampling, log = sampling or Sampling(), self.log
        rows, start_s = [], []
        for user, start, stop in zip(prompts.user, prompts.start, prompts.stop, strict=True):
            name = self.store.users()[user]
            own: dict[str, int] = {}
            known = self.predictor.num_events(name) > 0
            events = list(self.store.named_events(int(user)))[: stop - start]
            for position, event in enumerate(events, int(start)):
                own[event.event] = int(log.behavior[position])
                if not known:
                    event.observe_in(self.predictor, name)
            shaped = {"temperature": sampling.temperature, "top_p": sampling.top_p}
            began = time.perf_counter()
            # A seed of its own for every user: the draws are not those of training.
            draw = int(np.random.SeedSequence([seed, 1, int(user)]).generate_state(1)[0])
            future = self.predictor.generate(name, num_steps, seed=draw, at=None, **shaped)
            self.generating_s += time.perf_counter() - began
            self.num_generated += num_steps
            words = log.vocabulary
            rows.append(
                [
                    (
                        e.time_s,
                        e.utc_offset_min,
                        words.behavior_id(e.behavior) or own[e.event],
                        words.event_id(e.event) or words.num_events + own[e.event],
                        self.location_of_name[e.location] if e.location else 0,
                    )
                    for e in future
                ]
            )
            has_behavior = np.flatnonzero(log.behavior[start:stop] >= 0)
            start_s.append(log.time_s[start + has_behavior[-1]])
        columns = np.moveaxis(np.array(rows, np.int64), 2, 0)
        names = ("time_s", "utc_offset_min", "behavior", "event", "location")
        return Continuations(start_s=np.array(start_s, np.int64), **dict(zip(names, columns, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--draws", type=int, default=4, help="futures per user")
    args = parser.parse_args()
    started, store = time.monotonic(), EventStore.open(args.store)
    checkpoint = Checkpoint.open(args.checkpoint)
    generator = Generator(checkpoint, store)
    device = DeviceGenerator(generator, store, args.bundle)
    split = checkpoint.config.split
    prompts = forecast_prompts(store, generator.log, split, "validation", args.steps)
    real = real_continuations(generator.log, prompts, args.steps)
    training, sdk = (
        measure(name, forecaster, prompts, real, Sampling(), args.draws)
        for name, forecaster in (("training", generator), ("SDK", device))
    )
    print("| metric | training | SDK | SDK - training |")
    print("|---" * 4 + "|")
    for name in (*METRICS, *EXTRA_METRICS):
        one, other = training.per_user[name], sdk.per_user[name]
        apart = mean_over_users(other - one)
        interval = f"{apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
        print(f"| {name} | {one.mean():.3f} | {other.mean():.3f} | {interval} |")
    per_event_us = 1e6 * device.generating_s / device.num_generated
    print(
        f"\n{len(prompts)} users, {per_event_us:.0f} us per generated event, the first reading "
        f"of each user included; data {store.fingerprint[:16]}, {time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
