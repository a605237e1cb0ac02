"""The universal bundle: a model that answers for any user of any log, without a vocabulary.

manifest.json  versions, numbers of the model, hashes of the other files and its own
predict.onnx   latest behaviors + question + past success -> probabilities, and how well each kernel predicted the last
               behavior, a row of past success
"""

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave.bundles.inference import Array, load_onnxruntime, run_graph
from edgebehave.bundles.manifest import BundleError, read_files, read_manifest
from edgebehave.bundles.model_shape import FLOAT, INT64, PREDICT_GRAPH, Dims, Interface
from edgebehave.bundles.opened_graph import MAX_FOLDED_BYTES, open_checked
from edgebehave.bundles.probe import check_probabilities

UNIVERSAL = "universal"
"""The kind in the manifest."""

SHIPPED = Path(__file__).parents[1] / "universal_bundle"
"""The bundle that comes with the package."""

_MAX_EVENTS = 8192
_MAX_COLUMNS = 1024
_DAY = 20_452
"""The day of the first run, in January 2026."""
_SATURDAY_S = 172_800
"""1970-01-03: days count from here, so that a week begins with its weekend."""


@dataclass(frozen=True, kw_only=True)
class UniversalShape:
    """The part of the manifest that describes the model.

    lookback         behaviors that are looked up, the latest.
    num_before       behaviors before those that are read, too.
    success_events   behaviors, the latest, whose rows of success a prediction reads.
    success_columns  numbers of such a row; the last but one says whether the behavior was new, the last one is 1.
    history_events   behaviors from which a prediction is made, to the last bit: the sum of the three above.
    """

    lookback: int
    num_before: int
    success_events: int
    success_columns: int
    history_events: int

    @classmethod
    def of_manifest(cls, given: Any) -> "UniversalShape":
        """Raises KeyError, TypeError or ValueError for missing or wrong numbers."""
        return cls(**{f.name: given[f.name] for f in fields(cls)})

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = _MAX_COLUMNS if name == "success_columns" else _MAX_EVENTS
            if type(value) is not int or not 0 < value <= most:
                raise ValueError(f"{name}: {value!r:.60}")
        if self.history_events != self.lookback + self.num_before + self.success_events:
            raise ValueError(f"history_events: {self.history_events}")

    @property
    def read_events(self) -> int:
        """Behaviors before a question that a run reads: those that the last of them is predicted from, and itself."""
        return self.lookback + self.num_before + 1

    def interface(self) -> Interface:
        """Inputs and outputs of the graph."""
        success = (FLOAT, (self.success_events - 1, self.success_columns))
        return Interface(
            {"history": (FLOAT, (4, None)), "last": (INT64, (None,)), "success": success, "known": (FLOAT, (1,))},
            {"probs": (FLOAT, (None,)), "new_success": (FLOAT, (self.success_columns,))},
        )

    def most(self, name: str, dims: Dims) -> tuple[int, ...]:
        """Sizes of an input as `check_sizes` takes them."""
        varying = -self.lookback if name == "last" else -self.read_events - 1
        return tuple(varying if size is None else size for size in dims)


@dataclass(frozen=True, kw_only=True)
class UniversalBundle:
    """A universal bundle opened for running.

    manifest  all of manifest.json.
    predict   runs predict.onnx; see `open_graph`. Its inputs, all float32 but `last`:
        history  (4, n + 1), the question last: numbers of names and of locations, from 1 up and below 2^24 (location 0:
                 none; the question has 0 for both); `day_and_second`. A question of unknown time has that of the last
                 behavior. n at least 1, at most `read_events`.
        last     (C,) int64, where each different name of the last `lookback` behaviors came last: -1 for the last
                 behavior, whose name is the first one.
        success  (success_events - 1, success_columns) rows of the behaviors before the last one, zeros above them.
        known    (1,) 1 if the time of the question is known, 0 if not.
    """

    path: Path
    manifest: Mapping[str, Any]
    shape: UniversalShape
    predict: Any

    @classmethod
    def open(
        cls, path: Path | str, providers: Sequence[str] | None = None, *, digest: str | None = None
    ) -> "UniversalBundle":
        """Read and verify a bundle, and run its graphs once.

        providers, digest  as in `Bundle.open`.
        Raises BundleError that names the file and what to do, ImportError without ONNX Runtime.
        """
        path = Path(path)
        manifest, shape, contents = read_universal(path, digest)
        return cls.of_graph(path, manifest, shape, contents[PREDICT_GRAPH], providers)

    @classmethod
    def of_graph(
        cls,
        path: Path,
        manifest: Mapping[str, Any],
        shape: UniversalShape,
        content: bytes,
        providers: Sequence[str] | None = None,
        *,
        name: str = PREDICT_GRAPH,
        room: int = MAX_FOLDED_BYTES,
    ) -> "UniversalBundle":
        """From the content of the graph and the name of its file, which messages have; runs it once.

        room  that other graphs of the bundle left.
        """
        load_onnxruntime()
        predict, _ = open_checked(path / name, content, providers, UNIVERSAL, shape.interface(), shape.most, room)
        opened = cls(path=path, manifest=manifest, shape=shape, predict=predict)
        try:
            opened._probe(name)
        except BundleError as error:
            raise BundleError(f"{path} fails a first run: {error}") from None
        return opened

    def _probe(self, name: str) -> None:
        """Run the graph on a short and on the longest history. Raises BundleError unless it answers with numbers."""
        shape = self.shape
        success = np.zeros((shape.success_events - 1, shape.success_columns), np.float32)
        for num_past in (1, 2, shape.read_events):
            number = np.arange(num_past + 1)
            names = 1 + number % min(97, shape.lookback)
            history = np.stack([names, number % 5, _DAY + number // 20, number * 4321 % 86_400]).astype(np.float32)
            history[:2, -1] = 0
            recent = names[:-1][::-1][: shape.lookback]
            last = -1 - np.sort(np.unique(recent, return_index=True)[1])
            asked: dict[str, Array] = {"history": history, "last": last, "success": success}
            asked["known"] = np.ones(1, np.float32)
            probs, row = run_graph(self.predict, ["probs", "new_success"], asked)
            if row.shape != (shape.success_columns,) or not np.isfinite(row).all():
                raise BundleError(f"{name} gives a row of success that is not finite")
            if probs.shape != (len(last) + 1,):
                raise BundleError(f"{name} gives {probs.shape} probabilities for {len(last)} names")
            check_probabilities(probs, name)
            success[-1] = row

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the graphs, best first."""
        return tuple(self.predict.get_providers())


def read_universal(path: Path, digest: str | None = None) -> tuple[dict[str, Any], UniversalShape, dict[str, bytes]]:
    """The manifest, the numbers of the model, and the content of its graph, which is not opened yet.

    Arguments and errors as of `UniversalBundle.open`.
    """
    manifest = read_manifest(path, digest)
    if manifest.get("kind") != UNIVERSAL:
        raise BundleError(f"{path} is not a universal bundle; open it with `Predictor.load`")
    contents = read_files(path, manifest, (PREDICT_GRAPH,), {PREDICT_GRAPH})
    try:
        shape = UniversalShape.of_manifest(manifest["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}/manifest.json has missing or wrong values: {error}") from None
    return manifest, shape, contents


def day_and_second(time_s: int, utc_offset_min: int) -> tuple[int, int]:
    """Local days since Saturday, 3 January 1970, and seconds of the local day."""
    return divmod(time_s + 60 * utc_offset_min - _SATURDAY_S, 86_400)


def has_shipped_bundle() -> bool:
    """Whether a universal bundle came with the package and ONNX Runtime, which it needs, is installed."""
    return (SHIPPED / "manifest.json").is_file() and importlib.util.find_spec("onnxruntime") is not None


@functools.cache
def shipped_bundle() -> UniversalBundle:
    """The universal bundle that came with the package, opened once for all predictors."""
    return UniversalBundle.open(SHIPPED)
