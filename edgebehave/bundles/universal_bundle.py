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

from edgebehave.bundles.bundle import GRAPHS, Bundle, open_session
from edgebehave.bundles.manifest import BundleError, read_files, read_manifest

UNIVERSAL = "universal"
"""The kind in the manifest."""

SHIPPED = Path(__file__).parents[1] / "universal_bundle"
"""The bundle that comes with the package."""

OBSERVE_INPUTS = frozenset({"history"})
PREDICT_INPUTS = frozenset({"history", "ids", "success", "time_s", "utc_offset_min", "time_known"})


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
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 100_000:
                raise ValueError(f"{name}: {value!r:.60}")
        if self.history_events != self.lookback + self.num_before + self.success_events:
            raise ValueError(f"history_events: {self.history_events}")


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
    def open(cls, path: Path | str, providers: Sequence[str] | None = None) -> "UniversalBundle":
        """Read and verify a bundle.

        providers  execution providers of ONNX Runtime, best first; default the CPU.
        Raises BundleError that names the file and what to do, ImportError without ONNX Runtime.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest.get("kind") != UNIVERSAL:
            raise BundleError(f"{path} is not a universal bundle; open it with `Predictor.load`")
        contents = read_files(path, manifest, GRAPHS)
        try:
            shape = UniversalShape(**{f.name: manifest["model"][f.name] for f in fields(UniversalShape)})
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}/manifest.json has missing or wrong values: {error}") from None
        observe, predict = (
            open_session(path, name, contents, providers, set(inputs))
            for name, inputs in zip(GRAPHS, (OBSERVE_INPUTS, PREDICT_INPUTS), strict=True)
        )
        return cls(path=path, manifest=manifest, shape=shape, observe=observe, predict=predict)

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that run the graphs, best first."""
        return tuple(self.predict.get_providers())


def open_bundle(path: Path | str, providers: Sequence[str] | None = None) -> Bundle | UniversalBundle:
    """A bundle of either kind. Raises as `Bundle.open`."""
    is_universal = read_manifest(Path(path)).get("kind") == UNIVERSAL
    return (UniversalBundle if is_universal else Bundle).open(path, providers)


def has_shipped_bundle() -> bool:
    """Whether a universal bundle came with the package and ONNX Runtime, which it needs, is installed."""
    return (SHIPPED / "manifest.json").is_file() and importlib.util.find_spec("onnxruntime") is not None


@functools.cache
def shipped_bundle() -> UniversalBundle:
    """The universal bundle that came with the package, opened once for all predictors."""
    return UniversalBundle.open(SHIPPED)
