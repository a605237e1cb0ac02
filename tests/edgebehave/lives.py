"""Users to test with: what they did, telling a predictor, and the bits of what it answers."""

import random
from pathlib import Path
from typing import NamedTuple

from edgebehave import Predictor
from edgebehave.bundles.bundle import Bundle

TINY = Path(__file__).parent / "tiny_bundle"
BUNDLES = ("fp32", "int8", "web")
START_S = 1_767_268_800  # Thursday 2026-01-01 12:00 UTC


class Happened(NamedTuple):
    """An event as an app would report it."""

    event: str
    at: int
    location: str | None
    utc_offset_min: int


def random_life(bundle: Bundle, num_events: int, seed: int = 0) -> list[Happened]:
    """Events at distinct times, one in ten with a name that the vocabulary does not hold."""
    draw = random.Random(seed)
    at, life = START_S, []
    for _ in range(num_events):
        at += draw.randint(1, 20_000)
        is_new = draw.random() < 0.1
        event = f"new.{draw.randint(0, 60)}" if is_new else draw.choice(bundle.vocabulary.events)
        location = draw.choice([None, f"my.{draw.randint(0, 5)}", *bundle.vocabulary.locations])
        life.append(Happened(event, at, location, draw.choice([-300, 0, 540])))
    return life


def tell(predictor: Predictor, user: str, life: list[Happened]) -> None:
    for event, at, location, offset in life:
        predictor.observe(user, event, at=at, location=location, utc_offset_min=offset)


def answer(predictor: Predictor, user: str = "ada", at: int = START_S + 10**7) -> tuple:
    """All candidates, and the bits of their probabilities."""
    names, probs = predictor.probabilities(user, at=at)
    return names, probs.tobytes()


def load(bundle: Bundle, **options) -> Predictor:
    return Predictor.load(bundle.path, **options)
