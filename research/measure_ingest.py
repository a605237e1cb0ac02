"""Speed and memory of ingest on simulated logs of any size, and the size of the store.

    python research/measure_ingest.py --events 10_000_000 100_000_000
    python research/measure_ingest.py --shapes one-user many-users --events 10_000_000 1_000_000

Makes each log with `stream_log` (or takes the one that is there), ingests it in a process of its own and prints a row
of a table: rows per second, CPU time, peak memory, bytes of the columns per event, and the median time of opening the
store. `--log FILE` measures a log of these columns instead. Needs some 70 bytes of disk per event in FOLDER.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest
from edgebehave_train.logs.stored_columns import COLUMNS
from edgebehave_train.simulator.streamed_log import StreamConfig, stream_log

_ROLES = {name: name for name in ("user", "time", "event")}
_SIMULATED = _ROLES | {"location": "location", "utc_offset": "utc_offset_min", "behavior": "behavior"}
_OPENINGS = 21
_BATCH = 1_000_000


def make_log(path: Path, num_events: int, shape: str) -> None:
    """A simulated log, or one of a single user, or of users with one event each; kept if it is there."""
    if path.exists():
        return
    if shape == "simulated":
        stream_log(StreamConfig(num_events=num_events), path)
        return
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    schema = pa.schema([("user", pa.string()), ("time", pa.int64()), ("event", pa.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, num_events, _BATCH):
            rows = np.arange(start, min(start + _BATCH, num_events))
            users = ["u"] * len(rows) if shape == "one-user" else [f"u{row}" for row in rows.tolist()]
            events = [f"e{number}" for number in rng.integers(0, 500, len(rows)).tolist()]
            times = 1_400_000_000 + rng.permutation(rows)
            writer.write_table(pa.table([users, times, events], schema))


def measure(log: Path, out: Path, threads: int, shape: str) -> dict[str, Any]:
    """Ingest a log and open its store."""
    started = time.perf_counter()
    columns = _SIMULATED if shape == "simulated" else _ROLES
    ingest(IngestConfig(log=log, out=out, threads=threads, overwrite=True, **columns), lambda line: None)
    wall_s = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    opening_s = []
    for _ in range(_OPENINGS):
        started = time.perf_counter()
        store = EventStore.open(out)
        opening_s.append(time.perf_counter() - started)
    num_bytes = sum(path.stat().st_size for path in (out / f"{name}.npy" for name in COLUMNS) if path.exists())
    return {
        "events": store.num_events,
        "users": store.num_users,
        "wall_s": wall_s,
        "rows_per_s": store.statistics["num_rows"] / wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
        "bytes_per_event": num_bytes / store.num_events,
        "opening_ms": 1000 * statistics.median(opening_s),
        "fingerprint": store.fingerprint,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=lambda text: int(text.replace(",", "_")), nargs="+", default=[10_000_000])
    parser.add_argument("--formats", choices=["parquet", "csv"], nargs="+", default=["parquet", "csv"])
    parser.add_argument("--shapes", choices=["simulated", "one-user", "many-users"], nargs="+", default=["simulated"])
    parser.add_argument("--log", type=Path, nargs="+", default=[], help="measure these files instead")
    parser.add_argument("--folder", type=Path, default=Path("runs/measure_ingest"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="keep the logs that were made")
    parser.add_argument("--one", nargs=2, metavar=("LOG", "SHAPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    out = options.folder / "store"
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), out, options.threads, options.one[1])))
        return
    print("| log | events | users | rows/s | CPU s | CPU us/row | peak MB | bytes/event | opening ms | fingerprint |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    jobs = [(log, 0, "simulated") for log in options.log]
    if not jobs:
        shapes = {"simulated": options.events, **dict(zip(options.shapes, options.events, strict=False))}
        for shape in options.shapes:
            sizes = options.events if shape == "simulated" else [shapes[shape]]
            formats = options.formats if shape == "simulated" else ["parquet"]
            jobs += [(options.folder / f"{shape}_{n}.{end}", n, shape) for n in sizes for end in formats]
    for log, num_events, shape in jobs:
        make_log(log, num_events, shape)
        command = [sys.executable, __file__, "--one", str(log), shape, "--folder", str(options.folder)]
        done = subprocess.run([*command, "--threads", str(options.threads)], check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        print(
            f"| {log.name} | {found['events']:,} | {found['users']:,} | {found['rows_per_s']:,.0f} | "
            f"{found['cpu_s']:.1f} | {1e6 * found['cpu_s'] / found['events']:.2f} | {found['peak_mb']:,.0f} | "
            f"{found['bytes_per_event']:.1f} | {found['opening_ms']:.1f} | {found['fingerprint'][:12]} |",
            flush=True,
        )
        shutil.rmtree(out, ignore_errors=True)
        if not options.keep and not options.log:
            log.unlink()


if __name__ == "__main__":
    main()
