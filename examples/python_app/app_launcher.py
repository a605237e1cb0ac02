"""An app launcher that suggests the four apps its user is most likely to open next.

    python examples/python_app/app_launcher.py             habits alone, from the first day on
    python examples/python_app/app_launcher.py my_bundle   with a model from `edgebehave export`

Replays two weeks of mornings and evenings of one user, then predicts at three times of the next day.
"""

import sys
from datetime import datetime, timedelta, timezone

from edgebehave import Predictor

HOME = timezone(timedelta(hours=9))
FIRST_DAY = datetime(2026, 3, 2, tzinfo=HOME)  # a Monday
WORKDAY = {7: ("alarm", "home"), 8: ("subway", "transit"), 12: ("payment", "cafe")}
EVENING = {19: ("music", "home"), 21: ("books", "home"), 23: ("alarm", "home")}


def main(bundle: str | None = None) -> None:
    predictor = Predictor.load(bundle) if bundle else Predictor()
    for day in range(14):
        date = FIRST_DAY + timedelta(days=day)
        for hour, (event, location) in ({} if date.weekday() >= 5 else WORKDAY | EVENING).items():
            predictor.observe("me", event, at=date + timedelta(hours=hour), location=location)
    today = FIRST_DAY + timedelta(days=14)
    for hour in (7, 12, 20):
        at = today + timedelta(hours=hour)
        dock = [
            f"{prediction.behavior} {prediction.probability:.0%}" for prediction in predictor.predict("me", k=4, at=at)
        ]
        print(f"{at:%A %H:%M}  {' | '.join(dock)}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
