"""The plan of a grid: its runs, their shapes, and plans that are refused."""

import json

import pytest

from edgebehave_train.scaling.grid import Grid, num_heads, num_layers


def test_a_grid_with_habits_and_seeds_is_counted_too():
    grid = Grid(seeds=2, habits=True)
    assert len(grid.smaller) == 30
    assert [point.seed for point in grid.held_out] == [0, 1]


def test_a_grid_names_what_differs_from_one_on_disk():
    content = json.loads(json.dumps(Grid().to_json()))
    assert Grid().difference_from(content) == ""
    assert Grid(epochs=2).difference_from(content) == "epochs = 10 instead of 2"
    shares = Grid(shares=(0.25, 0.5, 1)).difference_from(content)
    assert shares == "shares = 0.1, 0.2, 0.5, 1 instead of 0.25, 0.5, 1"
    del content["habits"]
    assert Grid().difference_from(content) == "habits = None instead of False"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (16, 32)}, "widths must be at least 3 different ones"),
        ({"shares": (0.1, 0.1, 1.0)}, "shares must be at least 3 different ones"),
        ({"shares": (0.1, 0.5, 1.5)}, r"shares must lie in \(0, 1\], got 1.5"),
        ({"shares": (0.0, 0.5, 1.0)}, r"shares must lie in \(0, 1\], got 0"),
        ({"widths": (16, 32, 65)}, "widths must be multiples of 4 from 8 on, got 65"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ],
)
def test_a_grid_that_cannot_be_fitted_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Grid(**changes)


def test_shapes_follow_from_the_width():
    assert [num_layers(width) for width in (16, 64, 128, 256, 512, 1024)] == [2, 2, 3, 4, 6, 8]
    assert [num_heads(width) for width in (8, 12, 16, 64, 96, 100, 128)] == [1, 1, 1, 2, 3, 2, 4]
