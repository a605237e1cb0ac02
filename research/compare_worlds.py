"""Random worlds beside real logs: is every trait of a real user inside what the worlds offer?

    python research/compare_worlds.py --data FOLDER      measure, then write the three files below
    python research/compare_worlds.py                    worlds alone: print their percentiles

FOLDER holds the research logs. Written: research/random_worlds.json (percentiles of the worlds, and what of each log
lies between them), the tables of docs/random_worlds.md, and docs/figures/random_worlds.png. Half a minute on one core.

A user counts with the first `length` events, and is compared with the first `length` events of the worlds.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import matplotlib

matplotlib.use("Agg")  # no screen is needed to write a file
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.ingest import IngestConfig, ingest
from edgebehave_train.simulator.random_worlds import random_worlds
from edgebehave_train.simulator.traits import TRAITS, traits_of
from edgebehave_train.simulator.world_ranges import (
    KINDS,
    LocationRanges,
    MixedRanges,
    NameRanges,
    Ranges,
    TimeRanges,
    WeighedRanges,
)
from edgebehave_train.universal.sequences import users_of_store

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "research/random_worlds.json"
PAGE = ROOT / "docs/random_worlds.md"
FIGURE = ROOT / "docs/figures/random_worlds.png"

SEED = 19
NUM_WORLDS = 1000
LENGTHS = (20, 50, 256)
LOW, HIGH = 5, 95
"""Percentiles of the worlds between which a real user should lie."""

RANGES = (Ranges, TimeRanges, LocationRanges, NameRanges, MixedRanges, WeighedRanges)

FloatArray = npt.NDArray[np.float64]
Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Behavior, location and local time in seconds of one user."""


@dataclass(frozen=True, kw_only=True)
class RealLog:
    """A research log: its file below the data folder, and SQL expressions for the columns of an event.

    lengths            numbers of events at which its users are compared.
    collapses_repeats  drop events with the name of the event before, as in a log of switches.
    """

    file: str
    user: str
    time: str
    behavior: str
    location: str
    utc_offset_min: str = "0"
    lengths: tuple[int, ...] = (50, 256)
    collapses_repeats: bool = False


WEB = RealLog(
    file="webtrackr_panel/visits.csv.gz", user="panelist_id", time="timestamp", behavior="domain", location="device"
)
REAL_LOGS = {
    "Foursquare": RealLog(
        file="foursquare_nyc/checkins.csv.gz",
        user="user_id",
        time="unix_utc",
        behavior="coalesce(category_name, '?' || category_idx)",
        location="poi_id",
        utc_offset_min="tz_offset_min",
    ),
    "ATUS": RealLog(
        file="atus2014/activities.csv.gz",
        user="respondent",
        time="start_local",
        behavior="category",
        location="place",
        lengths=(20,),
    ),
    "Tokyo": RealLog(
        file="llmob_tokyo/trips_2019.csv.gz", user="user_id", time="local_time", behavior="category", location="place"
    ),
    "KAIST": RealLog(
        file="kaist_context/activities.csv.gz",
        user="user_id",
        time="start_local",
        behavior="activity",
        location="place",
    ),
    "web": WEB,
    "web, switches": RealLog(**{**vars(WEB), "collapses_repeats": True}),
}


def users_of(log: RealLog, data: Path) -> list[Columns]:
    """The events of every user of a log, in time order."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "log.parquet", Path(folder) / "store"
        columns = {
            "user": log.user,
            "time": log.time,
            "event": log.behavior,
            "location": log.location,
            "utc_offset": log.utc_offset_min,
        }
        select = ", ".join(f"{expression} AS {name}_" for name, expression in columns.items())
        duckdb.sql(f"COPY (SELECT {select} FROM read_csv('{data / log.file}', all_varchar = true)) TO '{table}'")
        ingest(IngestConfig(log=table, out=out, **{name: f"{name}_" for name in columns}))
        return users_of_store(EventStore.open(out), log.collapses_repeats)


def traits_table(logs: Sequence[Columns], length: int) -> FloatArray:
    """(logs, traits) of the first `length` events of those logs that have so many."""
    rows = [
        astuple(traits_of(*(column[:length] for column in columns))) for columns in logs if len(columns[0]) >= length
    ]
    return np.array(rows).reshape(-1, len(TRAITS))


def worlds(num_worlds: int = NUM_WORLDS, seed: int = SEED) -> list[Columns]:
    return [
        (world.behavior, world.location, world.local_s)
        for world in islice(random_worlds(seed, max(LENGTHS)), num_worlds)
    ]


def percentiles(table: FloatArray) -> dict[str, list[float]]:
    """{trait: its 5th, 50th and 95th percentile}."""
    values = np.nanpercentile(table, [LOW, 50, HIGH], axis=0).T
    return {trait: [round(float(v), 4) for v in row] for trait, row in zip(TRAITS, values, strict=True)}


def coverage(table: FloatArray, of_worlds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """For each trait: the median user, and the share of users between the percentiles of the worlds.

    A trait without meaning for every user of a log is left out.
    """
    covered = {}
    for column, trait in zip(table.T, TRAITS, strict=True):
        values = column[~np.isnan(column)]
        if len(values):
            low, _, high = of_worlds[trait]
            inside = (values >= low) & (values <= high)
            covered[trait] = {"median": round(float(np.median(values)), 4), "inside": round(float(inside.mean()), 3)}
    return covered


def users_tables(data: Path) -> dict[str, dict[int, FloatArray]]:
    """{log: {length: traits of its users}}."""
    tables = {}
    for name, log in REAL_LOGS.items():
        users = users_of(log, data)
        tables[name] = {length: traits_table(users, length) for length in log.lengths}
    return tables


def measure(of_worlds: Mapping[int, FloatArray], of_users: Mapping[str, Mapping[int, FloatArray]]) -> dict[str, Any]:
    """Percentiles of the worlds, and for every log and length what of its users lies between them."""
    measured: dict[str, Any] = {
        "seed": SEED,
        "num_worlds": NUM_WORLDS,
        "worlds": {str(length): percentiles(table) for length, table in of_worlds.items()},
        "logs": {},
    }
    for name, tables in of_users.items():
        measured["logs"][name] = {
            str(length): {"num_users": len(table), "traits": coverage(table, measured["worlds"][str(length)])}
            for length, table in tables.items()
        }
    return measured


def coverage_table(measured: Mapping[str, Any]) -> str:
    """For every log: traits whose median user and 90 % of users lie inside; mean and least share of users inside."""
    lines = [
        "| log | events | users | median user inside | 90 % of users inside | users, mean | least covered trait |",
        "|---|---|---|---|---|---|---|",
    ]
    for log, of_lengths in measured["logs"].items():
        for length, of_log in of_lengths.items():
            traits, of_worlds = of_log["traits"], measured["worlds"][length]
            medians = [of_worlds[trait][0] <= t["median"] <= of_worlds[trait][2] for trait, t in traits.items()]
            inside = {trait: t["inside"] for trait, t in traits.items()}
            most = sum(share >= 0.9 for share in inside.values())
            least = min(inside, key=inside.__getitem__)
            lines.append(
                f"| {log} | {length} | {of_log['num_users']:,} | {sum(medians)} of {len(medians)} traits "
                f"| {most} of {len(inside)} traits | {np.mean(list(inside.values())):.0%} "
                f"| {least} {inside[least]:.0%} |"
            )
    return "\n".join(lines)


def traits_table_text(measured: Mapping[str, Any], length: int = max(LENGTHS)) -> str:
    """Percentiles of the worlds and the median user of every log, for one length."""
    logs = {log: of_lengths[str(length)] for log, of_lengths in measured["logs"].items() if str(length) in of_lengths}
    lines = [
        f"| trait, {length} events | worlds 5 % | 50 % | 95 % | {' | '.join(logs)} |",
        "|---" * (4 + len(logs)) + "|",
    ]
    for trait, of_worlds in measured["worlds"][str(length)].items():
        medians = [of_log["traits"].get(trait, {}).get("median") for of_log in logs.values()]
        cells = [f"{v:.4g}" if v is not None else "" for v in (*of_worlds, *medians)]
        lines.append(f"| {trait} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ranges_table() -> str:
    """Every range of the prior; those of a kind where they differ from `any`."""
    others = [kind for kind in KINDS if kind != "any"]
    lines = [f"| trait | any | {' | '.join(others)} |", "|---" * (2 + len(others)) + "|"]
    lines.append("| share of the worlds | " + " | ".join(f"{KINDS[kind][0]:g}" for kind in ("any", *others)) + " |")

    def add(name: str, values: list[Any]) -> None:
        if isinstance(values[0], RANGES):
            for field in fields(values[0]):
                add(f"{name}.{field.name}".lstrip("."), [getattr(value, field.name) for value in values])
            return
        own = ["" if value == values[0] else str(value) for value in values[1:]]
        lines.append(f"| {name} | {values[0]} | {' | '.join(own)} |")

    add("", [KINDS[kind][1] for kind in ("any", *others)])
    return "\n".join(lines)


def with_tables(page: str, measured: Mapping[str, Any]) -> str:
    """The page with the tables between their markers replaced."""
    for name, table in (
        ("coverage", coverage_table(measured)),
        ("traits", traits_table_text(measured)),
        ("ranges", ranges_table()),
    ):
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not (begin and end):
            raise ValueError(f"{PAGE} has no place for the table {name!r}")
        page = f"{before}{begin}{table}\n{end}{after}"
    return page


_LOG_AXES = {"num_names", "median_gap_s", "events_per_day", "num_locations"}
"""Traits on an axis of logarithms; their values are 0 or at least 1, and 0 is drawn at 1/2."""
_WORLDS, _SHORT_WORLDS = "#BBBBBB", "#0072B2"
_COLORS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MAX_TICKS = 60


def draw(of_worlds: Mapping[int, FloatArray], of_users: Mapping[str, Mapping[int, FloatArray]], path: Path) -> None:
    """For each trait the histogram of the worlds (256 events), and below it a row of ticks for the users of each log.

    A log without users of so many events is shown with its first 20, beside the outline of the worlds of 20 events.
    Bars that reach the upper edge are taller than they are drawn.
    """
    long, short = max(LENGTHS), min(LENGTHS)
    colors = iter(_COLORS)
    rows = {
        log if long in tables else f"{log} ({short} events)": (
            tables.get(long, tables.get(short)),
            next(colors) if long in tables else _SHORT_WORLDS,
        )
        for log, tables in of_users.items()
    }
    num_columns = 4
    figure, axes = plt.subplots(
        -(-(len(TRAITS) + 1) // num_columns), num_columns, figsize=(13, 12), layout="constrained"
    )
    for i, (trait, axis) in enumerate(zip(TRAITS, axes.flat, strict=False)):
        is_log = trait in _LOG_AXES
        long_worlds, short_worlds = (_placed(of_worlds[length][:, i], is_log) for length in (long, short))
        users = [(_placed(table[:, i], is_log), color) for table, color in rows.values()]
        everything = np.concatenate([long_worlds, short_worlds, *(values for values, _ in users)])
        low, high = everything.min(), everything.max()
        bins = np.geomspace(low, high, 21) if is_log else np.linspace(low, high, 21)
        shares = axis.hist(long_worlds, bins, weights=_equal_shares(long_worlds), color=_WORLDS)[0]
        axis.hist(
            short_worlds, bins, weights=_equal_shares(short_worlds), histtype="step", color=_SHORT_WORLDS, linewidth=0.8
        )
        top = min(shares.max(), 1.6 * np.sort(shares)[-3])  # one or two tall bars would flatten the others
        for percentile in np.percentile(long_worlds, [LOW, HIGH]):
            axis.axvline(percentile, color="black", linewidth=0.8, linestyle=":")
        step = top / 9
        for row, (values, color) in enumerate(users, start=1):
            ticks = np.sort(values)[np.linspace(0, len(values) - 1, min(len(values), _MAX_TICKS)).astype(int)]
            axis.plot(ticks, np.full(len(ticks), -row * step), "|", color=color, markersize=5, alpha=0.7)
        axis.set_ylim(-(len(users) + 1) * step, 1.05 * top)
        if is_log:
            axis.set_xscale("log")
            decades = 10.0 ** np.arange(int(np.log10(high)) + 1)
            ticks_at = decades[:: 2 if len(decades) > 4 else 1].tolist()
            labels = [f"{at:,.0f}" for at in ticks_at]
            axis.set_xticks([0.5, *ticks_at] if low < 1 else ticks_at, ["0", *labels] if low < 1 else labels)
        axis.set_yticks([])
        axis.set_title(trait, fontsize=10)
        axis.tick_params(labelsize=8)
    for axis in axes.flat[len(TRAITS) :]:
        axis.set_axis_off()
    legend: dict[str, Any] = {
        f"random worlds ({long} events)": plt.Rectangle((0, 0), 1, 1, color=_WORLDS),
        "their 5th and 95th percentile": plt.Line2D([], [], color="black", linestyle=":"),
        f"random worlds ({short} events)": plt.Line2D([], [], color=_SHORT_WORLDS, linewidth=0.8),
    }
    for log, (_, color) in rows.items():
        legend[log] = plt.Line2D([], [], color=color, marker="|", linestyle="", markersize=9, markeredgewidth=2)
    axes.flat[len(TRAITS)].legend(legend.values(), legend.keys(), loc="center", fontsize=8.5, frameon=False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _placed(values: FloatArray, is_log: bool) -> FloatArray:
    known = values[~np.isnan(values)]
    return np.where(known < 1, 0.5, known) if is_log else known


def _equal_shares(values: FloatArray) -> FloatArray:
    return np.full(len(values), 1 / len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    data: Path | None = parser.parse_args().data
    logs = worlds()
    of_worlds = {length: traits_table(logs, length) for length in LENGTHS}
    if data is None:
        print(json.dumps({length: percentiles(table) for length, table in of_worlds.items()}, indent=1))
        return
    of_users = users_tables(data)
    measured = measure(of_worlds, of_users)
    MEASURED.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
    draw(of_worlds, of_users, FIGURE)
    print(coverage_table(measured))


if __name__ == "__main__":
    main()
