"""The universal bundle: a model that answers for any user of any log, without a vocabulary.

manifest.json  versions, numbers of the model, hashes of the other files and its own
observe.onnx   latest behaviors -> how well each kernel predicted the last of them, a row of past success
predict.onnx   latest behaviors + candidates + past success + moment -> probabilities
"""

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave.bundles.graph_file import FLOAT, INT64, Dims
from edgebehave.bundles.inference import load_onnxruntime, run_graph
from edgebehave.bundles.manifest import BundleError, read_files, read_manifest
from edgebehave.bundles.model_shape import GRAPHS, OBSERVE_GRAPH, PREDICT_GRAPH, Interface
from edgebehave.bundles.opened_graph import open_checked
from edgebehave.bundles.probe import check_probabilities

UNIVERSAL = "universal"
"""The kind in the manifest."""

SHIPPED = Path(__file__).parents[1] / "universal_bundle"
"""The bundle that comes with the package."""

_MAX_EVENTS = 8192
_MAX_COLUMNS = 1024
_AT_S = 1_767_225_600
"""2026-01-01: the moment of the first run."""


@dataclass(frozen=True, kw_only=True)
class UniversalShape:
    """The part of the manifest that describes the model.

    lookback         behaviors that are looked up, the latest.
    num_before       behaviors before those that are read, too.
    success_events   behaviors, the latest, whose rows of success a prediction reads.
    success_columns  numbers of such a row; the last one says whether the behavior was new.
    history_events   behaviors from which a prediction is made, to the last bit: the sum of the three above.
    """

    lookback: int
    num_before: int
    success_events: int
    success_columns: int
    history_events: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            most = _MAX_COLUMNS if name == "success_columns" else _MAX_EVENTS
            if type(value) is not int or not 0 < value <= most:
                raise ValueError(f"{name}: {value!r:.60}")
        if self.history_events != self.lookback + self.num_before + self.success_events:
            raise ValueError(f"history_events: {self.history_events}")

    def interface(self, graph: str) -> Interface:
        """Inputs and outputs of one of the graphs, by the name of its file."""
        history, one = (INT64, (4, None)), (INT64, (1,))
        if graph == OBSERVE_GRAPH:
            return Interface({"history": history}, {"success": (FLOAT, (self.success_columns,))})
        inputs = {"history": history, "ids": (INT64, (None,)), **dict.fromkeys(("time_s", "utc_offset_min"), one)}
        success = (FLOAT, (self.success_events, self.success_columns))
        return Interface({**inputs, "time_known": one, "success": success}, {"probs": (FLOAT, (None,))})

    def most(self, name: str, dims: Dims) -> tuple[int, ...]:
        """Sizes of an input as `check_sizes` takes them."""
        varying = -self.lookback if name == "ids" else -self.history_events
        return tuple(varying if size is None else size for size in dims)


@dataclass(frozen=True, kw_only=True)
class UniversalBundle:
    """A universal bundle opened for running.

    manifest  all of manifest.json.
    observe   runs observe.onnx; see `open_graph`.
    predict   runs predict.onnx.
    """

    path: Path
    manifest: Mapping[str, Any]
    shape: UniversalShape
    observe: Any
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
        manifest = read_manifest(path, digest)
        if manifest.get("kind") != UNIVERSAL:
            raise BundleError(f"{path} is not a universal bundle; open it with `Predictor.load`")
        contents = read_files(path, manifest, GRAPHS, set(GRAPHS))
        try:
            shape = UniversalShape(**{f.name: manifest["model"][f.name] for f in fields(UniversalShape)})
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}/manifest.json has missing or wrong values: {error}") from None
        return cls.of_graphs(path, manifest, shape, [contents[name] for name in GRAPHS], providers)

    @classmethod
    def of_graphs(
        cls,
        path: Path,
        manifest: Mapping[str, Any],
        shape: UniversalShape,
        contents: Sequence[bytes],
        providers: Sequence[str] | None = None,
        names: Sequence[str] = GRAPHS,
    ) -> "UniversalBundle":
        """From the contents of the two graphs and the names of their files, which messages have; runs them once."""
        load_onnxruntime()
        observe, predict = (
            open_checked(path / name, content, providers, UNIVERSAL, shape.interface(graph), shape.most)
            for graph, name, content in zip(GRAPHS, names, contents, strict=True)
        )
        opened = cls(path=path, manifest=manifest, shape=shape, observe=observe, predict=predict)
        try:
            opened._probe()
        except BundleError as error:
            raise BundleError(f"{path} fails a first run: {error}") from None
        return opened

    def _probe(self) -> None:
        """Run both graphs on a short and on the longest history. Raises BundleError unless they answer with numbers."""
        shape = self.shape
        for num_past in (2, shape.history_events):
            number = np.arange(num_past)
            names = 1 + number % min(97, shape.lookback)
            history = np.stack([names, number % 5, _AT_S - 4321 * (num_past - number), np.full(num_past, 60)])
            (success,) = run_graph(self.observe, ["success"], {"history": history})
            if success.shape != (shape.success_columns,) or not np.isfinite(success).all():
                raise BundleError(f"{OBSERVE_GRAPH} gives numbers that are not finite")
            ids = np.unique(names[-shape.lookback :])
            asked = {"history": history, "ids": ids, "success": np.tile(success, (shape.success_events, 1))}
            moment = {"time_s": np.array([_AT_S]), "utc_offset_min": np.array([60]), "time_known": np.array([1])}
            (probs,) = run_graph(self.predict, ["probs"], asked | moment)
            if probs.shape != (len(ids) + 1,):
                raise BundleError(f"{PREDICT_GRAPH} gives {probs.shape} probabilities for {len(ids)} names")
            check_probabilities(probs, PREDICT_GRAPH)

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the graphs, best first."""
        return tuple(self.predict.get_providers())


def has_shipped_bundle() -> bool:
    """Whether a universal bundle came with the package and ONNX Runtime, which it needs, is installed."""
    return (SHIPPED / "manifest.json").is_file() and importlib.util.find_spec("onnxruntime") is not None


@functools.cache
def shipped_bundle() -> UniversalBundle:
    """The universal bundle that came with the package, opened once for all predictors."""
    return UniversalBundle.open(SHIPPED)
