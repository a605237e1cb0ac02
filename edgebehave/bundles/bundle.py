"""The bundle: a folder that ships to a device, is read once, verified, and then run.

manifest.json     versions, shape of the model, class priors, hashes of the other files and its own
vocabulary.json   names and their ids
observe.onnx      event + cache of earlier events -> state, and the new rows of the cache
predict.onnx      state + moment + history of behaviors -> probabilities
wait.onnx         state + history -> waiting times until the next behavior (models with generation heads)
next.onnx         state + moment + history -> behavior and event of a generated event (the same, not for the web)
place.onnx        state + event + history -> location of a generated event (the same, not for the web)
lookup.onnx       predict.onnx of a universal bundle, see there (models trained from the universal one, not for the web)
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from edgebehave.answers.acting import OperatingPoint
from edgebehave.answers.combination import Powers
from edgebehave.answers.coverage import CoverageThresholds
from edgebehave.answers.probability_shift import ProbabilityShift
from edgebehave.bundles.inference import load_onnxruntime
from edgebehave.bundles.manifest import (
    MAX_BUNDLE_BYTES,
    MAX_PINNED_BYTES,
    BundleError,
    read_files,
    read_json,
    read_manifest,
)
from edgebehave.bundles.model_shape import (
    GRAPHS,
    LOCATION_GRAPH,
    LOOKUP_GRAPH,
    NEXT_GRAPH,
    OBSERVE_GRAPH,
    PREDICT_GRAPH,
    WAIT_GRAPH,
    ModelShape,
    Target,
)
from edgebehave.bundles.opened_graph import MAX_FOLDED_BYTES, open_checked
from edgebehave.bundles.probe import probe
from edgebehave.bundles.universal_bundle import UNIVERSAL, UniversalBundle, UniversalShape
from edgebehave.time_features import NUM_SLOTS
from edgebehave.vocabulary import NO_BEHAVIOR, Vocabulary

_VOCABULARY = "vocabulary.json"
_MAX_LOG_RATIO = 100.0
_MAX_CALIBRATION = 1e6
"""The largest temperature, the smallest's inverse, and the largest boost: a denormal one makes answers NaN."""

_LEAST_CLOCK_RATE = 1e-12


@dataclass(frozen=True, kw_only=True)
class GenerationHeads:
    """The graphs and numbers that generate events, besides wait.onnx.

    next           runs next.onnx.
    location       runs place.onnx.
    num_quantiles  Q: wait.onnx first gives Q equally probable waiting times of each bin, then the
                   waiting times from the user's own past.
    clock_rate     (2, 48) share of the training log's behaviors in each half hour of workdays and of weekends.
    """

    next: Any
    location: Any
    num_quantiles: int
    clock_rate: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Combination:
    """How the universal model answers together with the named one, see `edgebehave.answers.combination`.

    shape   of the universal model.
    powers  of both models.
    shift   calibration and prior shift of their answer; that of predict.onnx is none.
    """

    shape: UniversalShape
    powers: Powers
    shift: ProbabilityShift


@dataclass(frozen=True, kw_only=True)
class LookupPart:
    """The universal model in the bundle of a named one, which was trained from it.

    universal    lookup.onnx, opened as the graph of a universal bundle.
    combination  of both.
    """

    universal: UniversalBundle
    combination: Combination


@dataclass(frozen=True, kw_only=True)
class BundleParts:
    """The files of a bundle, read and compared with each other; no graph is opened yet.

    num_quantiles, clock_rate  of `GenerationHeads`; None if the bundle cannot generate events.
    combination                of `LookupPart`; None if the bundle has no lookup.
    graphs                     contents of the graphs, by the name of the file.
    """

    path: Path
    manifest: Mapping[str, Any]
    target: Target
    shape: ModelShape
    vocabulary: Vocabulary
    class_priors: npt.NDArray[np.float32]
    log_ratio: npt.NDArray[np.float64]
    thresholds: CoverageThresholds
    operating_points: tuple[OperatingPoint, ...]
    num_quantiles: int | None
    clock_rate: npt.NDArray[np.float64] | None
    combination: Combination | None
    graphs: Mapping[str, bytes]

    @classmethod
    def read(cls, path: Path, digest: str | None = None) -> "BundleParts":
        """Arguments and errors as of `Bundle.open`; needs no ONNX Runtime."""
        manifest = read_manifest(path, digest)
        if "kind" in manifest:
            kind = "a universal bundle" if manifest["kind"] == UNIVERSAL else "a bundle of another kind"
            raise BundleError(f"{path} is {kind}, which has no vocabulary; see `Predictor.load`")
        names = {_VOCABULARY, *GRAPHS, WAIT_GRAPH, NEXT_GRAPH, LOCATION_GRAPH, LOOKUP_GRAPH}
        max_bytes = MAX_BUNDLE_BYTES if digest is None else MAX_PINNED_BYTES
        contents = read_files(path, manifest, (_VOCABULARY, *GRAPHS), names, max_bytes)
        target: Any = manifest.get("target")
        if target not in get_args(Target):
            raise BundleError(
                f"{path} is made for {target!r:.60}, this runtime reads bundles for "
                f"{' and '.join(get_args(Target))}; export it again"
            )
        generates = {NEXT_GRAPH, LOCATION_GRAPH, WAIT_GRAPH} <= contents.keys()
        try:
            shape = ModelShape(**{f.name: manifest["model"][f.name] for f in fields(ModelShape)})
            class_priors = _numbers(manifest["class_priors"]).astype(np.float32)
            log_ratio = _numbers(manifest["tail"]["log_ratio"])
            thresholds = CoverageThresholds(
                coverage=_numbers(manifest["conformal"]["coverage"]),
                threshold=_numbers(manifest["conformal"]["threshold"]),
            )
            points = _operating_points(manifest["acting"]) if "acting" in manifest else ()
            num_quantiles, clock_rate = _generation(manifest["generation"]) if generates else (None, None)
            combination = _combination(manifest, log_ratio) if LOOKUP_GRAPH in contents else None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise BundleError(f"{path}/manifest.json has missing or wrong values: {error}") from None
        try:
            vocabulary = _vocabulary(contents[_VOCABULARY])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise BundleError(f"{path}/vocabulary.json is not a vocabulary: {error}") from None
        _check_consistent(path, shape, vocabulary, class_priors, log_ratio)
        if combination is not None:
            _check_lookup(path, target, shape, vocabulary, combination.shape)
        return cls(
            path=path,
            manifest=manifest,
            target=target,
            shape=shape,
            vocabulary=vocabulary,
            class_priors=class_priors,
            log_ratio=log_ratio,
            thresholds=thresholds,
            operating_points=points,
            num_quantiles=num_quantiles,
            clock_rate=clock_rate,
            combination=combination,
            graphs={
                name: contents[name]
                for name in (*GRAPHS, WAIT_GRAPH, NEXT_GRAPH, LOCATION_GRAPH, LOOKUP_GRAPH)
                if name in contents and (generates or name not in (NEXT_GRAPH, LOCATION_GRAPH))
            },
        )


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle opened for running.

    manifest      all of manifest.json.
    target        what it was exported for.
    class_priors  (V,) float32 training frequencies, 0 for id 0.
    log_ratio     (V,) float64, log r_b of the tail shift, see `edgebehave.answers.probability_shift`.
    thresholds    of prediction sets.
    observe       runs observe.onnx; see `open_graph`.
    predict       runs predict.onnx.
    wait          runs wait.onnx; None if the model has no generation heads.
    generation    None if the bundle cannot generate events.
    lookup        None if the model was not trained from the universal one.
    operating_points
                  precision at each coverage; none where the export did not measure it.
    """

    path: Path
    manifest: Mapping[str, Any]
    target: Target
    shape: ModelShape
    vocabulary: Vocabulary
    class_priors: npt.NDArray[np.float32]
    log_ratio: npt.NDArray[np.float64]
    thresholds: CoverageThresholds
    observe: Any
    predict: Any
    wait: Any | None = None
    generation: GenerationHeads | None = None
    lookup: LookupPart | None = None
    operating_points: tuple[OperatingPoint, ...] = ()

    @classmethod
    def open(cls, path: Path | str, providers: Sequence[str] | None = None, *, digest: str | None = None) -> "Bundle":
        """Read and verify a bundle, and run each of its graphs once.

        providers  execution providers of ONNX Runtime, best first; default the CPU.
        digest     the "digest" that its manifest.json must have; None: any.
        Raises BundleError that names the file and what to do, ImportError without ONNX Runtime.
        """
        parts = BundleParts.read(Path(path), digest)
        path, target, shape = parts.path, parts.target, parts.shape
        load_onnxruntime()
        graphs: dict[str, Any] = {}
        room = MAX_FOLDED_BYTES
        for name, content in parts.graphs.items():
            if name != LOOKUP_GRAPH:
                promised, most = shape.interface(name, target), partial(shape.most, name)
                graphs[name], room = open_checked(path / name, content, providers, target, promised, most, room)
        try:
            probe(shape, target, graphs, parts.num_quantiles)
        except BundleError as error:
            raise BundleError(f"{path} fails a first run: {error}") from None
        generation = None
        if parts.num_quantiles is not None and parts.clock_rate is not None:
            generation = GenerationHeads(
                next=graphs[NEXT_GRAPH],
                location=graphs[LOCATION_GRAPH],
                num_quantiles=parts.num_quantiles,
                clock_rate=parts.clock_rate,
            )
        lookup = None
        if parts.combination is not None:
            content, universal_shape = parts.graphs[LOOKUP_GRAPH], parts.combination.shape
            universal = UniversalBundle.of_graph(
                path, parts.manifest, universal_shape, content, providers, name=LOOKUP_GRAPH, room=room
            )
            lookup = LookupPart(universal=universal, combination=parts.combination)
        running = graphs[PREDICT_GRAPH].get_providers()[0]
        if providers and running != providers[0]:
            warnings.warn(
                f"{providers[0]} is not available here; the bundle runs on {running}", RuntimeWarning, stacklevel=3
            )
        return cls(
            path=path,
            manifest=parts.manifest,
            target=target,
            shape=shape,
            vocabulary=parts.vocabulary,
            class_priors=parts.class_priors,
            log_ratio=parts.log_ratio,
            thresholds=parts.thresholds,
            operating_points=parts.operating_points,
            observe=graphs[OBSERVE_GRAPH],
            predict=graphs[PREDICT_GRAPH],
            wait=graphs.get(WAIT_GRAPH),
            generation=generation,
            lookup=lookup,
        )

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the graphs, best first."""
        return tuple(self.predict.get_providers())


def _check_consistent(
    path: Path,
    shape: ModelShape,
    vocabulary: Vocabulary,
    class_priors: npt.NDArray[np.float32],
    log_ratio: npt.NDArray[np.float64],
) -> None:
    """Raises BundleError if parts of a bundle do not belong together."""
    for name in ("num_events", "num_locations", "num_behaviors"):
        if getattr(vocabulary, name) != getattr(shape, name):
            raise BundleError(
                f"{path}: the vocabulary has {name} {getattr(vocabulary, name)} but the model "
                f"{getattr(shape, name)}; export it again from its checkpoint"
            )
    for name, values in (("class priors", class_priors), ("ratios of the tail shift", log_ratio)):
        if values.shape != (shape.num_behaviors,):
            raise BundleError(
                f"{path}: {values.size} {name} for {shape.num_behaviors} behaviors; export it again from its checkpoint"
            )
    is_spread = class_priors[0] == 0 and class_priors.min() >= 0 and abs(float(class_priors.sum()) - 1) < 1e-3
    if not is_spread or np.abs(log_ratio).max() > _MAX_LOG_RATIO:
        raise BundleError(
            f"{path}: class priors that do not sum to one over the known behaviors, or ratios of the tail shift above "
            f"{_MAX_LOG_RATIO:.0f}; export it again from its checkpoint"
        )
    looks_back = max(shape.receptive_field + shape.window - 2, shape.habit_events)
    if shape.history_events < looks_back:
        raise BundleError(
            f"{path} keeps {shape.history_events} events per user, but the model looks back on "
            f"{looks_back}; export it again from its checkpoint"
        )


def _numbers(values: Any) -> npt.NDArray[np.float64]:
    """An array from a list of numbers, no longer lists of other things. Raises ValueError."""
    flat = values if isinstance(values, list) else [values]
    if not all(type(value) in (int, float) and abs(value) <= 1e30 for value in flat):
        raise ValueError(f"numbers expected, got {values!s:.60}")
    return np.array(values, np.float64)


def _generation(given: Any) -> tuple[int, npt.NDArray[np.float64]]:
    """num_quantiles and clock_rate of `GenerationHeads`."""
    num_quantiles = given["num_quantiles"]
    clock_rate = np.stack([_numbers(row) for row in given["clock_rate"]])
    if type(num_quantiles) is not int or not 1 <= num_quantiles <= 1024:
        raise ValueError(f"num_quantiles: {num_quantiles!r:.60}")
    if clock_rate.shape != (2, NUM_SLOTS) or not _LEAST_CLOCK_RATE <= clock_rate.min() <= clock_rate.max() <= 1:
        raise ValueError("clock_rate")
    return num_quantiles, clock_rate


def _operating_points(given: Any) -> tuple[OperatingPoint, ...]:
    """Precision at each coverage. Raises ValueError unless all are lists of shares, of one length."""
    columns = [_numbers(given[name]) for name in OperatingPoint._fields]
    if any(column.ndim != 1 or column.shape != columns[0].shape for column in columns):
        raise ValueError("acting: coverage, threshold and precision must be lists of equal length")
    if any(len(column) and not (column.min() >= 0 and column.max() <= 1) for column in columns):
        raise ValueError("acting: coverage, threshold and precision must lie in 0..1")
    return tuple(OperatingPoint(*point) for point in zip(*(column.tolist() for column in columns), strict=True))


def _combination(manifest: Mapping[str, Any], log_ratio: npt.NDArray[np.float64]) -> Combination:
    given, calibration = manifest["lookup"], manifest["calibration"]
    temperature, boost = (float(_numbers(calibration[name])) for name in ("temperature", "boost"))
    if 0 < temperature < 1 / _MAX_CALIBRATION or max(temperature, boost) > _MAX_CALIBRATION:
        raise ValueError(f"temperature {temperature} or boost {boost}")
    return Combination(
        shape=UniversalShape.of_manifest(given["model"]),
        powers=Powers(**{f.name: float(_numbers(given["powers"][f.name])) for f in fields(Powers)}),
        shift=ProbabilityShift(log_ratio_V=log_ratio, temperature=temperature, boost=boost),
    )


def _check_lookup(
    path: Path, target: Target, shape: ModelShape, vocabulary: Vocabulary, lookup_shape: UniversalShape
) -> None:
    """Raises BundleError unless both models read the same events of a user."""
    fits = lookup_shape.history_events <= shape.history_events and lookup_shape.lookback <= shape.habit_events
    if target == "web" or not fits or NO_BEHAVIOR in vocabulary.event_to_behavior:
        raise BundleError(f"{path}: its {LOOKUP_GRAPH} does not fit its model; export it again from its checkpoint")


def _vocabulary(content: bytes) -> Vocabulary:
    given = read_json(content)
    names = [name for kind in ("events", "locations", "behaviors") for name in given[kind]]
    ids = given["event_to_behavior"]
    if not all(type(name) is str for name in names) or not all(type(number) is int for number in ids):
        raise ValueError("names must be texts, and ids whole numbers")
    return Vocabulary(**given)


def open_bundle(
    path: Path | str, providers: Sequence[str] | None = None, *, digest: str | None = None
) -> Bundle | UniversalBundle:
    """A bundle of either kind. Arguments and errors as of `Bundle.open`."""
    is_universal = read_manifest(Path(path), digest).get("kind") == UNIVERSAL
    return (UniversalBundle if is_universal else Bundle).open(path, providers, digest=digest)
