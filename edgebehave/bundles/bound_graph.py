"""A graph whose inputs and outputs lie in arrays that stay where they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.inference import CPU_DEVICE

Array = npt.NDArray[np.generic]


class BoundGraph:
    """An ONNX Runtime session with its inputs and outputs bound to memory of ours.

    Nothing is copied, converted or looked up per run: for graphs this small, `session.run` takes
    as long for that as for the graph. The arrays are kept alive; they must be contiguous.
    """

    def __init__(self, session: Any, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs: dict[str, Array] = {}
        for name, array in inputs.items():
            self.bind(name, array)
        self._outputs = dict(outputs)
        for name, array in outputs.items():
            self._binding.bind_output(name, CPU_DEVICE, 0, array.dtype.type, array.shape, array.ctypes.data)

    def bind(self, name: str, array: Array) -> None:
        """Take an input from another array from now on."""
        assert array.flags.c_contiguous, name
        self._inputs[name] = array
        self._binding.bind_input(name, CPU_DEVICE, 0, array.dtype.type, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Compute the outputs in place. Options, even default ones, would cost 30 us."""
        self._session.run_with_iobinding(self._binding)
