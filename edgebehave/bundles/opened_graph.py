"""A graph of a bundle opened for running, after it was read, bounded, and compared with its manifest."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgebehave.bundles.graph_file import Dims, read_graph
from edgebehave.bundles.graph_sizes import Sizes, check_sizes
from edgebehave.bundles.inference import open_graph
from edgebehave.bundles.manifest import BundleError
from edgebehave.bundles.model_shape import Interface


def open_checked(
    path: Path,
    content: bytes,
    providers: Sequence[str] | None,
    target: str,
    promised: Interface,
    most: Callable[[str, Dims], Sizes],
) -> Any:
    """A session of one of the graphs, which is read, bounded, and compared with its manifest before.

    target  decides which operators it may call, see `OPERATORS`.
    most    the largest sizes of an input of this name and these sizes.
    Raises BundleError that names the file.
    """
    try:
        graph = read_graph(content, target)
        found = Interface(graph.inputs, graph.outputs)
        for given, expected, takes in (
            (found.inputs, promised.inputs, "takes"),
            (found.outputs, promised.outputs, "gives"),
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
        check_sizes(graph, {name: most(name, dims) for name, (_, dims) in promised.inputs.items()})
        return open_graph(content, providers)
    except (BundleError, ImportError):
        raise
    # ONNX Runtime raises a dozen classes of its own, most of them plain RuntimeErrors.
    except Exception as error:
        raise BundleError(f"{path} cannot be loaded: {error!s:.400}") from error
