"""A graph of a bundle opened for running, after it was read, bounded, and compared with its manifest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgebehave.bundles.inference import open_graph, said
from edgebehave.bundles.manifest import BundleError
from edgebehave.bundles.model_shape import Dims, Interface

MAX_FOLDED_BYTES = 1 << 25
"""What the graphs of a bundle compute from constants alone, see `check_sizes`: tables of integers become floats."""


def open_checked(
    path: Path,
    content: bytes,
    providers: Sequence[str] | None,
    target: str,
    promised: Interface,
    most: Callable[[str, Dims], tuple[int, ...]],
    room: int,
) -> tuple[Any, int]:
    """A session of one of the graphs, which is read, bounded, and compared with its manifest before.

    target   decides which operators it may call, see `OPERATORS`.
    most     the largest sizes of an input of this name and these sizes.
    room     of `check_sizes`.
    Returns  also what is left of the room. Raises BundleError that names the file.
    """
    try:
        left = check_graph(path, content, target, promised, most, room)
        return open_graph(content, providers), left
    except (BundleError, ImportError):
        raise
    # ONNX Runtime raises a dozen classes of its own, most of them plain RuntimeErrors.
    except Exception as error:
        raise BundleError(f"{path} cannot be loaded: {said(error)}") from error


def check_graph(
    path: Path,
    content: bytes,
    target: str,
    promised: Interface,
    most: Callable[[str, Dims], tuple[int, ...]],
    room: int,
) -> int:
    """Read a graph, compare it with its manifest, and bound it; arguments as of `open_checked`.

    Returns what is left of the room. Raises BundleError, or ValueError that does not name the file.
    """
    # Imported here: they take a tenth of the time of importing the SDK, and Predictor() may never open a bundle.
    from edgebehave.bundles.graph_file import read_graph
    from edgebehave.bundles.graph_sizes import check_sizes

    graph = read_graph(content, target)
    for given, expected, takes in (
        (graph.inputs, promised.inputs, "takes"),
        (graph.outputs, promised.outputs, "gives"),
    ):
        if given.keys() != expected.keys():
            raise BundleError(
                f"{path} {takes} {sorted(given)!s:.300}, but its manifest promises {sorted(expected)!s:.300}; "
                "export it again from its checkpoint"
            )
        for name, kind in expected.items():
            if given[name] != kind:
                raise BundleError(
                    f"{path} {takes} {name} as type {given[name][0]} of the sizes {given[name][1]}, but its "
                    f"manifest promises type {kind[0]} of the sizes {kind[1]}; export it again from its checkpoint"
                )
    return check_sizes(graph, {name: most(name, dims) for name, (_, dims) in promised.inputs.items()}, room)
