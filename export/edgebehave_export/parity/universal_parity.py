"""The parity gate of a universal bundle: random worlds go through torch and, by the SDK, through the graphs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgebehave.bundles.universal_bundle import UniversalBundle
from edgebehave.predictor import Predictor
from edgebehave_export.parity.report import MAX_DIFFERENCE, Check, ParityReport
from edgebehave_train.simulator.random_worlds import WorldLog, random_world
from edgebehave_train.universal.answers import READ_EVENTS
from edgebehave_train.universal.sequences import Sequences
from edgebehave_train.universal.universal_model import UniversalModel

LENGTHS = (2, 3, 5, 20, 66, 150, 450, 640)
"""Events of the worlds."""
WORLDS_PER_LENGTH = 3
MAX_INT8_DIFFERENCE = 0.02
"""Between probabilities of torch and of the int8 graphs: with weights in 255 steps, .002 to .005 was measured."""

_SEED = 7
_UTC_OFFSET_MIN = 60
_QUESTIONS = 6

Answer = tuple[list[str], npt.NDArray[np.float32]]


def check_universal_parity(
    model: UniversalModel,
    devices: Mapping[str, UniversalBundle],
    *,
    lengths: tuple[int, ...] = LENGTHS,
    worlds_per_length: int = WORLDS_PER_LENGTH,
) -> ParityReport:
    """Compare bundles with their model, after many prefixes of each world, with and without the time of the query.

    devices  opened bundles by their precision, "fp32" and "int8".
    """
    worst = dict.fromkeys(devices, 0.0)
    num_answers = num_other = num_worlds = 0
    for length in lengths:
        for number in range(worlds_per_length):
            world = random_world(np.random.default_rng([_SEED, length, number]), length)
            prefixes = sorted({*range(1, min(4, length)), *np.linspace(1, length - 1, _QUESTIONS).astype(int).tolist()})
            expected = {question: _expected(model, world, *question) for question in _questions(prefixes)}
            num_worlds += 1
            for precision, bundle in devices.items():
                found = _streamed(Predictor(bundle), world, prefixes)
                for question, answer in found.items():
                    worst[precision] = max(worst[precision], _difference(expected[question], answer))
                    num_answers += precision == "fp32"
                rebuilt = _told_at_once(bundle, world, prefixes[-1])
                num_other += not _equal(rebuilt, found[prefixes[-1], True])
    limits = {"fp32": MAX_DIFFERENCE, "int8": MAX_INT8_DIFFERENCE}
    checks = [
        Check(name=f"torch - {precision}, probabilities", value=value, count=num_answers, limit=limits[precision])
        for precision, value in worst.items()
    ]
    num_rebuilt = num_worlds * len(devices)
    checks.append(Check(name="histories whose rebuilt answer differs", value=num_other, count=num_rebuilt, limit=0.0))
    return ParityReport(
        checks=checks,
        num_predictions=num_answers,
        num_users=num_worlds,
        num_joined=0,
        longest=max(lengths),
        num_full_cache=0,
        num_wrapped=0,
    )


def _questions(prefixes: list[int]) -> list[tuple[int, bool]]:
    return [(prefix, timed) for prefix in prefixes for timed in (True, False)]


def _streamed(predictor: Predictor, world: WorldLog, prefixes: list[int]) -> dict[tuple[int, bool], Answer]:
    """Answers after some prefixes, each asked as soon as the prefix has happened."""
    answers = {}
    for index in range(prefixes[-1]):
        _observe(predictor, world, index)
        for timed in (True, False) if index + 1 in prefixes else ():
            answers[index + 1, timed] = _ask(predictor, world, index + 1, timed)
    return answers


def _told_at_once(bundle: UniversalBundle, world: WorldLog, prefix: int) -> Answer:
    predictor = Predictor(bundle)
    for index in range(prefix):
        _observe(predictor, world, index)
    return _ask(predictor, world, prefix, timed=True)


def _observe(predictor: Predictor, world: WorldLog, index: int) -> None:
    location = int(world.location[index])
    name, place = f"name {world.behavior[index]}", f"location {location}" if location >= 0 else None
    predictor.observe("user", name, location=place, **_moment(world, index))


def _ask(predictor: Predictor, world: WorldLog, index: int, timed: bool) -> Answer:
    moment = _moment(world, index) if timed else {"at": None}
    return predictor.probabilities("user", **moment)


def _moment(world: WorldLog, index: int) -> dict[str, Any]:
    return {"at": int(world.local_s[index]) - 60 * _UTC_OFFSET_MIN, "utc_offset_min": _UTC_OFFSET_MIN}


@torch.no_grad()
def _expected(model: UniversalModel, world: WorldLog, index: int, timed: bool) -> dict[str, float]:
    """The model's probabilities of the names that came before an event."""
    read = slice(max(0, index - READ_EVENTS), index + 1)
    sequences = Sequences.of_arrays([(world.behavior[read], world.location[read], world.local_s[read])])
    query = sequences.name.shape[1] - 1
    answers = model(sequences, torch.tensor([query]), torch.tensor([[timed]]))
    probs = answers.logits[0, 0].softmax(-1)[:-1].tolist()
    names = dict.fromkeys(world.behavior[read].tolist())  # columns are in the order of first use
    return {f"name {name}": prob for name, prob in zip(names, probs, strict=True)}


def _difference(expected: dict[str, float], found: Answer) -> float:
    """The largest; a name that the device leaves out has probability 0."""
    probs = dict(zip(found[0], found[1].tolist(), strict=True))
    return max(abs(probs.get(name, 0.0) - prob) for name, prob in expected.items())


def _equal(one: Answer, other: Answer) -> bool:
    return one[0] == other[0] and one[1].tobytes() == other[1].tobytes()
