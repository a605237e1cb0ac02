"""Copies of the network's state."""

from pathlib import Path

import pytest

from edgebehave.bundles.bundle import Bundle
from edgebehave.bundles.network_state import empty_state

TINY = Path(__file__).parents[1] / "tiny_bundle"


@pytest.mark.parametrize("name", ["int8", "web"])
def test_a_copied_state_goes_its_own_way(name):
    bundle = Bundle.open(TINY / name)
    state, alone = empty_state(bundle, 0), empty_state(bundle, 0)
    for i in range(bundle.shape.window + 5):
        copied = state.copy()
        copied.step(1, 1, 1_700_000_000, 0)
        copied.step(2, 1, 1_700_000_000, 0)
        for each in (state, alone):
            each.step(1 + i % 5, 2, 1_700_000_000 + 600 * i, 0)
        assert state.hidden.tobytes() == alone.hidden.tobytes()
    copied = state.copy()
    for i in range(bundle.shape.window + 5):
        for each in (copied, state):
            each.step(1 + i % 4, 3, 1_700_100_000 + 600 * i, 0)
        assert copied.hidden.tobytes() == state.hidden.tobytes()
