"""Without a model: `Predictor(model="habits")`, which chooses between habits and the leader, beside the leader alone.

    python research/leader_floor.py --data FOLDER [--logs KAIST ...] [--users N]

HR@1 / HR@3 of each user from the 20th event on (ATUS: the 5th). The choice must not be more than .003 below the leader,
which looks back on everything. Of large logs the first users count; the table stands in docs/decisions.md.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compare_worlds import REAL_LOGS, Columns, users_of
from edgebehave import Predictor
from edgebehave.follow_the_leader import FollowTheLeader
from edgebehave_cli.console import print_table

LOGS = ("KAIST", "web, switches", "Tokyo", "Foursquare", "ATUS")
USERS = {"Tokyo": 30, "Foursquare": 150, "ATUS": 600}
FIRST_EVENT, FIRST_EVENT_OF = 20, {"ATUS": 5}
CUTOFFS = (1, 3)


def hits(users: Sequence[Columns], first_event: int) -> npt.NDArray[np.float64]:
    """(questions, 2, len(CUTOFFS)): of the leader, of `Predictor(model="habits")`; each user has a past of its own."""
    found = []
    for columns in users:
        predictor, leader = Predictor(model="habits", max_ahead=None), FollowTheLeader()
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for number, (name, place, at) in enumerate(rows, 1):
            if number >= first_event:
                best = [str(one) for one in leader.ranking()[: CUTOFFS[-1]]]
                answer = [one.behavior for one in predictor.predict("user", CUTOFFS[-1], at=at)]
                found.append([[str(name) in of[:k] for k in CUTOFFS] for of in (best, answer)])
            predictor.observe("user", str(name), at=at, location=str(place) if place >= 0 else None)
            leader.observe(name)
    return np.array(found, float).reshape(-1, 2, len(CUTOFFS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("EDGEBEHAVE_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="the research logs; or EDGEBEHAVE_DATA")
    parser.add_argument("--logs", nargs="*", choices=LOGS, default=LOGS)
    parser.add_argument("--users", type=int, help="at most so many of each log")
    args = parser.parse_args()
    if args.data is None:
        parser.error("name the folder of the research logs by --data or EDGEBEHAVE_DATA")
    rows = []
    for log in args.logs:
        users = users_of(REAL_LOGS[log], args.data)[: args.users or USERS.get(log)]
        found = hits(users, FIRST_EVENT_OF.get(log, FIRST_EVENT))
        cells = [" / ".join(f"{share:.3f}" for share in of) for of in found.mean(0)]
        above = float((found[:, 1, 0] - found[:, 0, 0]).mean())
        rows.append([f"{log}, {len(users)} users", f"{len(found):,}", *cells, f"{above:+.4f}"])
        print_table(log, ["log", "questions", "follow the leader", "habits or the leader", "HR@1 - leader"], rows[-1:])
    print_table("All", ["log", "questions", "follow the leader", "habits or the leader", "HR@1 - leader"], rows)


if __name__ == "__main__":
    main()
