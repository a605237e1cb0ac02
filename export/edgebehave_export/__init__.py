"""Bundles from checkpoints: ONNX graphs, quantization, parity gate."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebehave_export.api import ParityReport, export

__all__ = ["ParityReport", "export"]


def __getattr__(name: str) -> Any:
    # Imported when used: they bring torch and onnx along.
    if name in __all__:
        from edgebehave_export import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
