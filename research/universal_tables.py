"""Tables of a universal model: how well it predicts whole logs that it has never seen, beside counting.

    python research/universal_tables.py --model runs/universal --data FOLDER -o runs/universal_tables.json
    python research/universal_tables.py --model runs/universal --store runs/store -o runs/mine.json

Every user from the 20th event on (ATUS from the 5th): HR@k and calibration, the latter on events 2 to 10 too, and HR@1
against the number of events seen. Each answer is made from the user's past alone. A behavior that is new to the user is
a miss for every predictor. Of the web panel, visits of the same site in a row count once. Intervals are 95 %, by
bootstrap over users, or, where there are fewer than ten, over their weeks.

Tables are printed as Markdown and written as JSON. A log that the file holds already, for the same model, is not
measured again.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from compare_worlds import REAL_LOGS, Columns, users_of
from edgebehave.follow_the_leader import PREDICTORS, FollowTheLeader
from edgebehave_cli.console import note, print_table
from edgebehave_train.evaluation.habit_baseline import habits
from edgebehave_train.files import file_digest, read_json, write_json
from edgebehave_train.logs.behavior_log import BehaviorLog
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.bootstrap import Interval, percentile_interval, user_resamples
from edgebehave_train.metrics.prediction_metrics import hit_rate_at_k
from edgebehave_train.simulator.random_worlds import in_order_of_use
from edgebehave_train.universal.answers import LogAnswers, answer_log, expected_calibration_error
from edgebehave_train.universal.pretraining import WEIGHTS_FILE, load_universal
from edgebehave_train.universal.sequences import users_of_store
from edgebehave_train.universal.universal_model import UniversalModel
from verbs import commit

# N queries: every behavior but the first of its user, users adjacent, in time order; K cutoffs

CUTOFFS = (1, 3, 5)
SEEN = (1, 2, 5, 10, 20, 50, 100, 500)
"""Events seen: a row of the table holds the queries from one number to below the next."""
SIMPLE = {
    "MRU": "most_recently_used",
    "MFU": "markov_0",
    "online Markov 1": "markov_1",
    "online Markov 2": "markov_2",
    "follow the leader": None,
}
"""{name: predictor of `edgebehave.follow_the_leader`; None: the leader}."""
TIMED, UNTIMED, HABITS = "universal", "universal, no query time", "habits"
LOGS = ("KAIST", "web, switches", "Tokyo", "Foursquare", "ATUS")
FIRST_EVENT, FIRST_EVENT_OF = 20, {"ATUS": 5}
EARLY_EVENTS = 10
MIN_USERS = 10
_BLOCK_S = 7 * 86400
_TERMS_AT_A_TIME = 2_000_000

Floats = npt.NDArray[np.float64]


def simple_hits(users: Sequence[Columns]) -> dict[str, Floats]:
    """{name: (N, K) hits} of the predictors that count."""
    hits: dict[str, list[list[bool]]] = {name: [] for name in SIMPLE}
    for behavior, *_ in users:
        counted = FollowTheLeader(behavior[:1].tolist())
        for came in behavior[1:].tolist():
            asked = {name: predictor or PREDICTORS[counted.leader()] for name, predictor in SIMPLE.items()}
            first = {predictor: counted.ranking(predictor)[: CUTOFFS[-1]] for predictor in set(asked.values())}
            for name, predictor in asked.items():
                hits[name].append([came in first[predictor][:k] for k in CUTOFFS])
            counted.observe(came)
    return {name: np.array(of, float).reshape(-1, len(CUTOFFS)) for name, of in hits.items()}


def habit_hits(users: Sequence[Columns]) -> Floats:
    """(N, K) hits of the habit kernels with their fixed weights, over the last 512 events, without a bundle."""
    sizes = [len(behavior) for behavior, *_ in users]
    names = np.concatenate([1 + in_order_of_use(behavior) for behavior, *_ in users])
    location, local_s = (np.concatenate([columns[i] for columns in users]) for i in (1, 2))
    everything = np.zeros(len(names), bool)
    log = BehaviorLog.of_columns(
        user_start=np.concatenate([[0], np.cumsum(sizes)]),
        mapped_behavior=names,
        location=location + 1,
        time_s=local_s,
        utc_offset_min=np.zeros(len(names), np.int64),
        is_train=everything,
        num_behaviors=int(names.max()) + 1,
    )
    targets = log.targets(~everything)
    predictions = habits(log, targets)
    return np.stack([hit_rate_at_k(predictions, k) * targets.is_repeat for k in CUTOFFS], 1)


def mean_intervals(values: Floats, cluster: npt.NDArray[np.int64], num_resamples: int) -> list[Interval]:
    """Means of the columns of values (N, M) with their intervals, by bootstrap over clusters (N,)."""
    _, index = np.unique(cluster, return_inverse=True)
    total = np.stack([np.bincount(index, column) for column in values.T], 1)
    number = np.bincount(index)[:, None]
    at_a_time = max(1, _TERMS_AT_A_TIME // len(total))
    pieces = user_resamples(len(total), num_resamples, 0, at_a_time)
    samples = np.concatenate([(weight @ total) / (weight @ number) for weight in pieces])
    return [percentile_interval(float(column.mean()), some) for column, some in zip(values.T, samples.T, strict=True)]


def calibration(answers: LogAnswers, of_table: npt.NDArray[np.bool_]) -> dict[str, tuple[float, float]]:
    """Expected calibration errors on the queries of the table, and on events 2 to 10 of every user.

    Beside each stands the error of a perfectly calibrated model on as many queries: few queries make it large.
    """
    errors = {}
    for when, which in (("", of_table), ("early_", answers.position < EARLY_EVENTS)):
        some = answers.take(which)
        for name, probability, came in (
            ("confidence", some.confidence, some.is_right),
            ("novelty", some.novelty, some.is_new),
        ):
            error = expected_calibration_error(probability, came)
            errors[when + name] = error, error_by_chance(probability)
    return errors


def error_by_chance(probability: npt.NDArray[np.floating], num_draws: int = 50) -> float:
    """Mean expected calibration error where everything comes with just its probability."""
    rng = np.random.default_rng(0)
    draws = (rng.random(len(probability)) < probability for _ in range(num_draws))
    return float(np.mean([expected_calibration_error(probability, came) for came in draws]))


def measure(users: Sequence[Columns], model: UniversalModel, first_event: int, num_resamples: int) -> dict[str, Any]:
    """Everything that is measured on one log, as JSON; intervals are [value, low, high].

    Raises ValueError if no user has so many events.
    """
    users = [columns for columns in users if len(columns[0]) > 1]
    if not any(len(behavior) >= first_event for behavior, *_ in users):
        raise ValueError(f"no user has {first_event} events; there is nothing to measure")
    answers = {name: answer_log(model, users, is_timed=name == TIMED) for name in (TIMED, UNTIMED)}
    hits = {name: np.stack([of.hits(k) for k in CUTOFFS], 1) for name, of in answers.items()}
    hits = {**simple_hits(users), HABITS: habit_hits(users), **hits}
    user, position = answers[TIMED].user, answers[TIMED].position
    of_table = position >= first_event - 1
    local_s = np.concatenate([columns[2][1:] for columns in users])
    num_users = len(np.unique(user[of_table]))
    is_by_user = num_users >= MIN_USERS
    cluster = (user if is_by_user else user * 10**6 + local_s // _BLOCK_S)[of_table]

    keys = [f"hr_at_{k}" for k in CUTOFFS]
    best = [max(SIMPLE, key=lambda name, i=i: hits[name][of_table, i].mean()) for i in range(len(CUTOFFS))]
    best_hits = np.stack([hits[name][:, i] for i, name in enumerate(best)], 1)
    above = {name: hits[name] - best_hits for name in (TIMED, UNTIMED, HABITS)}
    columns = np.concatenate([*hits.values(), *above.values()], 1)[of_table]
    measured = iter(mean_intervals(columns, cluster, num_resamples))

    def intervals(names: Iterable[str]) -> dict[str, dict[str, Any]]:
        return {name: {key: astuple(next(measured)) for key in keys} for name in names}

    ends = (*SEEN[1:], np.inf)
    by_seen = []
    for low, high in zip(SEEN, ends, strict=True):
        which = (position >= low) & (position < high)
        if which.any():
            shares = {name: float(of[which, 0].mean()) for name, of in hits.items()}
            by_seen.append({"seen": low, "queries": int(which.sum()), "hr_at_1": shares})
    return {
        "num_users": num_users,
        "first_event": first_event,
        "num_queries": int(of_table.sum()),
        "share_new": float(answers[TIMED].is_new[of_table].mean()),
        "resampled": "users" if is_by_user else "weeks of users",
        "predictors": intervals(hits),
        "above_best_simple": intervals(above),
        "best_simple": dict(zip(keys, best, strict=True)),
        "calibration_error": {name: calibration(of, of_table) for name, of in answers.items()},
        "by_events_seen": by_seen,
    }


def show(name: str, measured: Mapping[str, Any]) -> None:
    """Print what was measured on one log."""
    keys = [f"hr_at_{k}" for k in CUTOFFS]
    rows = []
    for predictor, of in measured["predictors"].items():
        above = measured["above_best_simple"].get(predictor)
        cells = [f"{of[key][0]:.3f} [{of[key][1]:.3f}, {of[key][2]:.3f}]" for key in keys]
        cells += [f"{above[key][0]:+.3f} [{above[key][1]:+.3f}, {above[key][2]:+.3f}]" if above else "" for key in keys]
        rows.append([predictor, *cells])
    best = ", ".join(f"HR@{k} {measured['best_simple'][f'hr_at_{k}']}" for k in CUTOFFS)
    title = (
        f"## {name}\n\n{measured['num_queries']:,} behaviors of {measured['num_users']:,} users from event "
        f"{measured['first_event']} on, {measured['share_new']:.1%} of them new; resampled: {measured['resampled']}; "
        f"best simple predictor: {best}"
    )
    columns = [f"HR@{k}" for k in CUTOFFS] + [f"HR@{k} - best simple" for k in CUTOFFS]
    print_table(title, ["predictor", *columns], rows)
    errors = measured["calibration_error"]
    rows = [
        [predictor, *(f"{error:.3f} ({by_chance:.3f})" for error, by_chance in of.values())]
        for predictor, of in errors.items()
    ]
    ends = ["confidence", "new name", "confidence, events 2 to 10", "new name, events 2 to 10"]
    print_table(
        "Expected calibration error (that of a perfectly calibrated model on as many queries)",
        ["predictor", *ends],
        rows,
    )
    predictors = list(measured["predictors"])
    rows = [
        [f"{of['seen']}", f"{of['queries']:,}", *(f"{of['hr_at_1'][predictor]:.3f}" for predictor in predictors)]
        for of in measured["by_events_seen"]
    ]
    print_table("HR@1 by events seen, from each number to below the next", ["seen", "queries", *predictors], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of `edgebehave universal`")
    data = os.environ.get("EDGEBEHAVE_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="the research logs; or EDGEBEHAVE_DATA")
    parser.add_argument("--logs", nargs="*", choices=LOGS, default=LOGS, help="some of the research logs")
    parser.add_argument("--store", type=Path, action="append", default=[], help="an event store; may be repeated")
    parser.add_argument("--collapse-repeats", action="store_true", help="in stores, keep the first of a run of events")
    parser.add_argument("--first-event", type=int, default=FIRST_EVENT, help="of stores, where the table begins")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file")
    args = parser.parse_args()
    if not args.store and args.data is None:
        parser.error("name --store, or the folder of the research logs by --data or EDGEBEHAVE_DATA")
    torch.set_num_threads(1)
    model = load_universal(args.model)
    sources: dict[str, tuple[int, Callable[[], list[Columns]]]] = {
        str(path): (
            args.first_event,
            lambda path=path: users_of_store(EventStore.open(path), args.collapse_repeats),
        )
        for path in args.store
    }
    if not args.store:
        for log in args.logs:
            sources[log] = FIRST_EVENT_OF.get(log, FIRST_EVENT), lambda log=log: users_of(REAL_LOGS[log], args.data)
    origin = {"model": file_digest(args.model / WEIGHTS_FILE), "resamples": args.resamples}
    origin |= {"collapse_repeats": args.collapse_repeats, "first_event": args.first_event}
    kept = read_json(args.out) if args.out.exists() else {}
    tables = kept.get("logs", {}) if kept.get("origin") == origin else {}
    for name, (first_event, users) in sources.items():
        if name not in tables:
            started = time.monotonic()
            tables[name] = measure(users(), model, first_event, args.resamples)
            tables[name]["seconds"] = round(time.monotonic() - started, 1)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.out, {"commit": commit(), "origin": origin, "logs": tables})
            note(f"{name}: {tables[name]['seconds']:.0f} s")
        show(name, tables[name])


if __name__ == "__main__":
    main()
