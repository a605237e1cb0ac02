"""The bundle: what ships to a device. A folder that is read once, verified, and then run.

manifest.json     versions, shape of the model, class priors, hashes of the other files and its own
vocabulary.json   names and their ids
observe.onnx      event + cache of those before -> state, and what is new in the cache
predict.onnx      state + moment + history of behaviors -> probabilities
wait.onnx         state + history -> waiting times until the next behavior (where known)
next.onnx, place.onnx  what the future is generated with (where known)
"""

import hashlib
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
from edgebehave.bundles.inference import open_graph, running_providers
from edgebehave.bundles.manifest_digest import manifest_digest
from edgebehave.time_features import NUM_SLOTS
from edgebehave.version import __version__
from edgebehave.vocabulary import Vocabulary

FORMAT_VERSION = 2
"""What this runtime reads; bundles of version 1 are to be exported again."""

Target = Literal["native", "web"]
"""What a bundle is made for.

native  ONNX Runtime of a phone or a computer: fused operators, the cache in place.
web     ONNX Runtime in a browser: standard operators, what is new in the cache is returned.
"""

CACHE_PARTS = ("key", "value")
"""What the cache of a layer consists of."""

GRAPHS = ("observe.onnx", "predict.onnx")
WAIT_GRAPH = "wait.onnx"
"""In bundles of models with generation heads: state + history -> when the next behavior happens."""

NEXT_GRAPH, LOCATION_GRAPH = "next.onnx", "place.onnx"
"""In those of them not for the web: state + moment -> what happens, which event; where that is."""

WAIT_INPUTS = ("hidden", "history", "num_real")
LOCATION_INPUTS = ("z", "event", "time_s", "utc_offset_min", "history", "history_event", "num_real")

_OBSERVE_INPUTS = {"event", "location", "time_s", "utc_offset_min", "position"}


class BundleError(ValueError):
    """A bundle that is damaged, incomplete, or made for another version of the runtime."""


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
    """What the future is generated with, beside wait.onnx.

    next           runs next.onnx.
    location          runs place.onnx.
    num_quantiles  Q: wait.onnx gives first Q waiting times of each bin, alike in probability, then
                   the user's own.
    clock_rate     (2, 48) share of the training log's behaviors in each half hour of workdays and
                   of weekends.
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
    log_ratio     (V,) float64, log r_b of the dial, see `edgebehave.answers.probability_shift`.
    thresholds    of prediction sets.
    observe       runs observe.onnx; see `open_graph`.
    predict       runs predict.onnx.
    wait          runs wait.onnx; None if the model says nothing of waiting times.
    generation    None if the bundle generates no future.
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
        manifest = _read_manifest(path)
        contents = _read_files(path, manifest)
        if manifest.get("target") not in get_args(Target):
            raise BundleError(
                f"{path} is made for {manifest.get('target')!r}, this runtime reads bundles for "
                f"{' and '.join(get_args(Target))}; export it again"
            )
        try:
            shape = ModelShape(**{f.name: manifest["model"][f.name] for f in fields(ModelShape)})
            with np.errstate(over="ignore"):  # infinite ones are refused below
                class_priors = np.array(manifest["class_priors"], np.float32)
            log_ratio = np.array(manifest["tail"]["log_ratio"], np.float64)
            thresholds = CoverageThresholds(
                coverage=np.array(manifest["conformal"]["coverage"], np.float64),
                threshold=np.array(manifest["conformal"]["threshold"], np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}/manifest.json lacks or garbles {error}") from None
        vocabulary = _read_vocabulary(path, contents["vocabulary.json"])
        _check_consistent(path, shape, vocabulary, class_priors, log_ratio)
        graphs = {name: _open_graph(path / name, contents[name], providers) for name in GRAPHS}
        observe_inputs = shape.observe_inputs(manifest["target"])
        _check_inputs(path / "observe.onnx", graphs["observe.onnx"], observe_inputs)
        _check_inputs(path / "predict.onnx", graphs["predict.onnx"], shape.predict_inputs())
        wait = None
        if WAIT_GRAPH in contents:
            wait = _open_graph(path / WAIT_GRAPH, contents[WAIT_GRAPH], providers)
            _check_inputs(path / WAIT_GRAPH, wait, set(WAIT_INPUTS))
        generation = None
        if NEXT_GRAPH in contents and LOCATION_GRAPH in contents and wait is not None:
            generation = _open_generation(path, manifest, shape, contents, providers)
        running = running_providers(graphs["predict.onnx"])[0]
        if providers and running != providers[0]:
            warnings.warn(
                f"{providers[0]} is not available here; the bundle runs on {running}",
                RuntimeWarning,
                stacklevel=3,
            )
        return cls(
            path=path,
            manifest=manifest,
            target=manifest["target"],
            shape=shape,
            vocabulary=vocabulary,
            class_priors=class_priors,
            log_ratio=log_ratio,
            thresholds=thresholds,
            observe=graphs["observe.onnx"],
            predict=graphs["predict.onnx"],
            wait=wait,
            generation=generation,
        )

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the graphs, best first."""
        return running_providers(self.predict)


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        raise BundleError(f"{path} is not a bundle; make one with `edgebehave export`")
    try:
        content = file.read_bytes()
        manifest = json.loads(content)
        version = int(manifest["format_version"])
        needed = str(manifest["min_runtime"])
        _parts(needed)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise BundleError(f"{file} is damaged; copy or export the bundle again") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read ({error.strerror})") from None
    if version > FORMAT_VERSION or _parts(needed) > _parts(__version__):
        raise BundleError(
            f"{path} is a bundle of format {version} and needs edgebehave {needed} or newer, "
            f"this is {__version__}; upgrade edgebehave"
        )
    if version < FORMAT_VERSION:
        raise BundleError(
            f"{path} is a bundle of format {version}, this runtime reads {FORMAT_VERSION}; "
            "export it again from its checkpoint"
        )
    if manifest.get("digest") != manifest_digest(content):
        raise BundleError(f"{file} is damaged: its digest is another; copy the bundle again")
    return dict(manifest)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _read_files(path: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """Contents of all files that the manifest lists, each as long and hashed as it says.

    The graphs are run from these bytes: what was verified is what runs.
    """
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise BundleError(f"{path}/manifest.json lists no files; copy or export it again")
    for name in ("vocabulary.json", *GRAPHS):
        if name not in listed:
            raise BundleError(f"{path}/manifest.json does not list {name}; export it again")
    contents: dict[str, bytes] = {}
    for name, expected in listed.items():
        # A manifest names its neighbors and nothing else on the device.
        if Path(name).name != name:
            raise BundleError(f"{path}/manifest.json lists {name!r}, which is not a file name")
        try:
            contents[name] = (path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{path}/{name} cannot be read ({error.strerror}); copy the bundle again, whole"
            ) from None
        digest = hashlib.sha256(contents[name]).hexdigest()
        if not isinstance(expected, dict) or digest != expected.get("sha256"):
            raise BundleError(
                f"{path}/{name} is damaged: {len(contents[name])} bytes, and its SHA-256 is not "
                "the one in manifest.json; copy the bundle again"
            )
    return contents


def _read_vocabulary(path: Path, content: bytes) -> Vocabulary:
    try:
        return Vocabulary(**json.loads(content))
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}/vocabulary.json is not a vocabulary: {error}") from None


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
    for name, values in (("class priors", class_priors), ("ratios of the dial", log_ratio)):
        if values.shape != (shape.num_behaviors,) or not np.isfinite(values).all():
            raise BundleError(
                f"{path}: {values.size} {name} for {shape.num_behaviors} behaviors, "
                "or some that are no numbers; export it again from its checkpoint"
            )
    looks_back = max(shape.receptive_field + shape.window - 2, shape.habit_events)
    if shape.history_events < looks_back:
        raise BundleError(
            f"{path} keeps {shape.history_events} events per user, but the model looks back on "
            f"{looks_back}; export it again from its checkpoint"
        )


def _open_graph(file: Path, content: bytes, providers: Sequence[str] | None) -> Any:
    try:
        check_graph_file(content)
        return open_graph(content, providers)
    except ImportError:
        raise
    # ONNX Runtime raises a dozen classes of its own, most of them plain RuntimeErrors.
    except Exception as error:
        raise BundleError(f"{file} cannot be loaded: {error}") from error


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
        raise BundleError(f"{path}/manifest.json lacks or garbles {error}") from None
    graphs = {}
    for name, inputs in ((NEXT_GRAPH, shape.next_inputs()), (LOCATION_GRAPH, set(LOCATION_INPUTS))):
        graphs[name] = _open_graph(path / name, contents[name], providers)
        _check_inputs(path / name, graphs[name], inputs)
    return GenerationHeads(
        next=graphs[NEXT_GRAPH],
        location=graphs[LOCATION_GRAPH],
        num_quantiles=num_quantiles,
        clock_rate=clock_rate,
    )


def _check_inputs(file: Path, graph: Any, expected: set[str]) -> None:
    found = {graph_input.name for graph_input in graph.get_inputs()}
    if found != expected:
        raise BundleError(
            f"{file} takes {sorted(found)}, but its manifest promises {sorted(expected)}; "
            "export it again from its checkpoint"
        )
