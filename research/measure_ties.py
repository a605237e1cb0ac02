"""What coarse times cost: HR@1 on a log with seconds, and on the same log with its times floored, so that ties arise.

    python research/measure_ties.py --store runs/store --model runs/without_kaist

The floored log is ingested twice: with each user's rows in time order, so that ties keep the order of the rows, and
with its rows shuffled, so that they stand in the order of a hash. Every behavior from the 20th of its user on is
predicted from the user's past. `--model` adds the universal model, which sees the times themselves.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from compare_worlds import Columns
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest
from edgebehave_train.universal.answers import answer_log
from edgebehave_train.universal.pretraining import load_universal
from edgebehave_train.universal.sequences import users_of_store
from edgebehave_train.universal.universal_model import UniversalModel
from universal_tables import FIRST_EVENT, simple_hits

AS_IT_IS, FLOORED, SHUFFLED = "as it is", "floored, rows in time order", "floored, rows shuffled"
_ROLES = {"location": "location", "utc_offset": "utc_offset", "behavior": "behavior"}


def floored_stores(store: EventStore, step_s: int, folder: Path, seed: int = 0) -> dict[str, EventStore]:
    """The log of a store, times floored to a step: with its rows in time order, and with them shuffled."""
    events = [(name, *event) for user, name in enumerate(store.users()) for event in store.named_events(user)]
    user, event, location, behavior, time_s, utc_offset = zip(*events, strict=True)
    floored = np.array(time_s) // step_s * step_s
    columns = {"user": user, "time": floored, "event": event, "location": location, "utc_offset": utc_offset}
    table = pa.table(columns | {"behavior": pa.array(behavior, pa.string())})
    orders = {
        FLOORED: np.argsort(time_s, kind="stable"),
        SHUFFLED: np.random.default_rng(seed).permutation(len(events)),
    }
    stores: dict[str, EventStore] = {}
    for name, order in orders.items():
        log, out = folder / "log.parquet", folder / f"store{len(stores)}"
        parquet.write_table(table.take(order), log)
        ingest(IngestConfig(log=log, out=out, time_unit="s", days=True, **_ROLES), lambda line: None)
        stores[name] = EventStore.open(out)
    return stores


def hit_rates(users: Sequence[Columns], model: UniversalModel | None = None) -> dict[str, float]:
    """{predictor: HR@1} over the behaviors from the 20th of each user on."""
    is_late = np.concatenate([np.arange(1, len(behavior)) >= FIRST_EVENT - 1 for behavior, *_ in users])
    rates = {name: float(hits[is_late, 0].mean()) for name, hits in simple_hits(users).items()}
    if model is not None:
        rates["universal"] = float(answer_log(model, users, FIRST_EVENT - 1).hits(1).mean())
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="event store with seconds")
    parser.add_argument("--step", type=int, default=60, help="seconds to which times are floored")
    parser.add_argument("--model", type=Path, help="folder of a universal model")
    args = parser.parse_args()
    model = args.model and load_universal(args.model)
    with tempfile.TemporaryDirectory() as folder:
        store = EventStore.open(args.store)
        stores = {AS_IT_IS: store, **floored_stores(store, args.step, Path(folder))}
        rates = {name: hit_rates(users_of_store(of), model) for name, of in stores.items()}
        predictors = list(rates[AS_IT_IS])
        print(f"| times | tied events | order of ties | {' | '.join(predictors)} |")
        print("|---|--:|---|" + "--:|" * len(predictors))
        for name, of in stores.items():
            tied = of.statistics["tied_events"] / of.num_events
            cells = " | ".join(f"{rates[name][predictor]:.4f}" for predictor in predictors)
            print(f"| {name} | {tied:.1%} | {of.statistics['order_of_ties']} | {cells} |")


if __name__ == "__main__":
    main()
