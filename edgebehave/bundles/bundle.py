"""The bundle: a folder that ships to a device, is read once, verified, and then run.

manifest.json     versions, shape of the model, class priors, hashes of the other files and its own
vocabulary.json   names and their ids
observe.onnx      event + cache of earlier events -> state, and the new rows of the cache
predict.onnx      state + moment + history of behaviors -> probabilities
wait.onnx         state + history -> waiting times until the next behavior (models with generation heads)
next.onnx         state + moment + history -> behavior and event of a generated event (the same, not for the web)
place.onnx        state + event + history -> location of a generated event (the same, not for the web)
window.onnx       latest events + moment + history -> probabilities, without a state (bundles for servers)
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgebehave.answers.coverage import CoverageThresholds
from edgebehave.bundles.graph_file import check_graph_file
from edgebehave.bundles.inference import open_graph
from edgebehave.bundles.manifest import BundleError, read_files, read_manifest
from edgebehave.time_features import NUM_SLOTS
from edgebehave.vocabulary import Vocabulary

Target = Literal["native", "web"]
"""The runtime that a bundle is made for.

native  ONNX Runtime of a phone or a computer: fused operators, the cache is changed in place.
web     ONNX Runtime in a browser: standard operators, the new rows of the cache are returned.
"""

CACHE_PARTS = ("key", "value")
"""The parts of the cache of a layer."""

GRAPHS = ("observe.onnx", "predict.onnx")
"""The graphs of every bundle."""

WAIT_GRAPH = "wait.onnx"
NEXT_GRAPH, LOCATION_GRAPH = "next.onnx", "place.onnx"

WAIT_INPUTS = ("hidden", "history", "num_real")
LOCATION_INPUTS = ("z", "event", "time_s", "utc_offset_min", "history", "history_event", "num_real")

_OBSERVE_INPUTS = {"event", "location", "time_s", "utc_offset_min", "position"}


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The part of the manifest that describes the model; names as in the training config.

    window           events that one layer looks back on, itself included.
    receptive_field  events that rebuild the state exactly.
    history_events   events that a device keeps per user.
    habit_events     events, the latest, that the habit kernels look back on.
    num_spare        candidates for behaviors of a user's own.
    num_events, num_locations, num_behaviors  sizes of the vocabulary, id 0 included.
    """

    width: int
    num_layers: int
    num_heads: int
    head_width: int
    window: int
    receptive_field: int
    history_events: int
    habit_events: int
    query_context: Literal["none", "time", "time_location"]
    habits: bool
    num_spare: int
    num_events: int
    num_locations: int
    num_behaviors: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "query_context":
                is_valid = value in ("none", "time", "time_location")
            elif name == "habits":
                is_valid = isinstance(value, bool)
            else:
                is_valid = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not is_valid:
                raise ValueError(f"{name}: {value!r:.60}")

    def empty_cache(self) -> npt.NDArray[np.float32]:
        """Keys and values of no event, (2 L, 0, H, E) float32."""
        return np.zeros((2 * self.num_layers, 0, self.num_heads, self.head_width), np.float32)

    def observe_inputs(self, target: Target) -> set[str]:
        """Names of the inputs of observe.onnx."""
        if target == "web":
            return _OBSERVE_INPUTS | {"cache"}
        caches = {f"{part}_{layer}" for layer in range(self.num_layers) for part in CACHE_PARTS}
        return _OBSERVE_INPUTS | {"num_cached"} | caches

    def predict_inputs(self) -> set[str]:
        """Names of the inputs of predict.onnx."""
        names = {"hidden", "tail"}
        if self.query_context != "none":
            names |= {"time_s", "utc_offset_min", "time_known"}
        if self.query_context == "time_location":
            names |= {"location"}
        if self.habits:
            names |= {"history"}
        return names

    def next_inputs(self) -> set[str]:
        """Names of the inputs of next.onnx."""
        names = self.predict_inputs() - {"tail", "time_known"}
        return names | {"num_real"} if self.habits else names


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

    @classmethod
    def open(cls, path: Path | str, providers: Sequence[str] | None = None) -> "Bundle":
        """Read and verify a bundle.

        providers  execution providers of ONNX Runtime, best first; default the CPU.
        Raises BundleError that names the file and what to do, ImportError without ONNX Runtime.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if "kind" in manifest:
            raise BundleError(
                f"{path} is a {manifest['kind']!s:.20} bundle, which has no vocabulary; see `Predictor.load`"
            )
        contents = read_files(path, manifest, ("vocabulary.json", *GRAPHS))
        target: Any = manifest.get("target")
        if target not in get_args(Target):
            raise BundleError(
                f"{path} is made for {target!r}, this runtime reads bundles for "
                f"{' and '.join(get_args(Target))}; export it again"
            )
        try:
            shape = ModelShape(**{f.name: manifest["model"][f.name] for f in fields(ModelShape)})
            with np.errstate(over="ignore"):  # infinite values are refused below
                class_priors = np.array(manifest["class_priors"], np.float32)
            log_ratio = np.array(manifest["tail"]["log_ratio"], np.float64)
            thresholds = CoverageThresholds(
                coverage=np.array(manifest["conformal"]["coverage"], np.float64),
                threshold=np.array(manifest["conformal"]["threshold"], np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}/manifest.json has missing or wrong values: {error}") from None
        try:
            vocabulary = Vocabulary(**json.loads(contents["vocabulary.json"]))
        except (TypeError, ValueError) as error:
            raise BundleError(f"{path}/vocabulary.json is not a vocabulary: {error}") from None
        _check_consistent(path, shape, vocabulary, class_priors, log_ratio)
        inputs = {"observe.onnx": shape.observe_inputs(target), "predict.onnx": shape.predict_inputs()}
        if WAIT_GRAPH in contents:
            inputs[WAIT_GRAPH] = set(WAIT_INPUTS)
        graphs = {name: open_session(path, name, contents, providers, inputs[name]) for name in inputs}
        generation = None
        if {NEXT_GRAPH, LOCATION_GRAPH, WAIT_GRAPH} <= contents.keys():
            generation = _open_generation(path, manifest, shape, contents, providers)
        running = graphs["predict.onnx"].get_providers()[0]
        if providers and running != providers[0]:
            warnings.warn(
                f"{providers[0]} is not available here; the bundle runs on {running}", RuntimeWarning, stacklevel=3
            )
        return cls(
            path=path,
            manifest=manifest,
            target=target,
            shape=shape,
            vocabulary=vocabulary,
            class_priors=class_priors,
            log_ratio=log_ratio,
            thresholds=thresholds,
            observe=graphs["observe.onnx"],
            predict=graphs["predict.onnx"],
            wait=graphs.get(WAIT_GRAPH),
            generation=generation,
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
        if values.shape != (shape.num_behaviors,) or not np.isfinite(values).all():
            raise BundleError(
                f"{path}: {values.size} {name} for {shape.num_behaviors} behaviors, "
                "or some that are not finite; export it again from its checkpoint"
            )
    looks_back = max(shape.receptive_field + shape.window - 2, shape.habit_events)
    if shape.history_events < looks_back:
        raise BundleError(
            f"{path} keeps {shape.history_events} events per user, but the model looks back on "
            f"{looks_back}; export it again from its checkpoint"
        )


def open_session(
    path: Path, name: str, contents: Mapping[str, bytes], providers: Sequence[str] | None, inputs: set[str]
) -> Any:
    """A session of one of the graphs, which must have these inputs."""
    try:
        check_graph_file(contents[name])
        graph = open_graph(contents[name], providers)
    except ImportError:
        raise
    # ONNX Runtime raises a dozen classes of its own, most of them plain RuntimeErrors.
    except Exception as error:
        raise BundleError(f"{path / name} cannot be loaded: {error}") from error
    found = {graph_input.name for graph_input in graph.get_inputs()}
    if found != inputs:
        raise BundleError(
            f"{path / name} takes {sorted(found)}, but its manifest promises {sorted(inputs)}; "
            "export it again from its checkpoint"
        )
    return graph


def _open_generation(
    path: Path,
    manifest: Mapping[str, Any],
    shape: ModelShape,
    contents: Mapping[str, bytes],
    providers: Sequence[str] | None,
) -> GenerationHeads:
    try:
        num_quantiles = int(manifest["generation"]["num_quantiles"])
        clock_rate = np.array(manifest["generation"]["clock_rate"], np.float64)
        if num_quantiles < 1 or clock_rate.shape != (2, NUM_SLOTS) or not (clock_rate > 0).all():
            raise ValueError("generation")
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}/manifest.json has missing or wrong values: {error}") from None
    return GenerationHeads(
        next=open_session(path, NEXT_GRAPH, contents, providers, shape.next_inputs()),
        location=open_session(path, LOCATION_GRAPH, contents, providers, set(LOCATION_INPUTS)),
        num_quantiles=num_quantiles,
        clock_rate=clock_rate,
    )
