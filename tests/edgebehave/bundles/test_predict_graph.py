"""Each kind of model gets the inputs that it was exported with."""

from dataclasses import replace

import numpy as np
import pytest
from lives import START_S, TINY, random_life, tell

from edgebehave import Predictor
from edgebehave.bundles.bundle import Bundle

pytest.importorskip("onnxruntime")


class StubGraph:
    """In place of a session: remembers what was bound, computes nothing."""

    def __init__(self) -> None:
        self.bound, self.num_runs = {}, 0

    def io_binding(self):
        return self

    def bind_input(self, name, device, device_id, dtype, shape, pointer):
        values = np.ctypeslib.as_array((np.ctypeslib.as_ctypes_type(dtype) * 1).from_address(pointer))
        self.bound[name] = values, shape

    def bind_output(self, *given):
        pass

    def run_with_iobinding(self, binding):
        self.num_runs += 1


@pytest.mark.parametrize("habits", [True, False])
@pytest.mark.parametrize("query_context", ["none", "time", "time_location"])
def test_each_kind_of_model_gets_the_inputs_it_was_exported_with(query_context, habits):
    real = Bundle.open(TINY / "int8")
    shape = replace(real.shape, query_context=query_context, habits=habits)
    observe, predict = StubGraph(), StubGraph()
    predictor = Predictor(replace(real, shape=shape, observe=observe, predict=predict))
    tell(predictor, "ada", random_life(real, 7))
    names, probs = predictor.probabilities("ada", at=START_S + 9)
    assert set(predict.bound) == shape.predict_inputs()
    assert set(observe.bound) == shape.observe_inputs("native")
    assert (observe.num_runs, predict.num_runs, len(probs)) == (7, 1, len(names))
    if habits:
        assert predict.bound["history"][1][0] == 4
    if query_context != "none":
        assert (predict.bound["time_s"][0], predict.bound["time_known"][0]) == (START_S + 9, 1)
