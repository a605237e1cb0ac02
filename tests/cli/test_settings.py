"""--set NAME=VALUE reaches every field of a training configuration."""

import pytest

from edgebehave_cli.settings import with_settings
from edgebehave_train.training.recipes import tiny


def test_fields_and_fields_of_parts_are_replaced():
    config = with_settings(tiny(), {"dropout": 0.3, "objective.kappa": 1, "split.by": "user"})
    assert (config.dropout, config.objective.kappa, config.split.by) == (0.3, 1.0, "user")
    assert isinstance(config.objective.kappa, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("habits", "no"),
        ("objective", "dro"),
        ("epochs", "ten"),
        ("epochs", 2.5),
        ("dropout", "high"),
        ("split.by", 3),
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        with_settings(tiny(), {name: value})


def test_fields_that_are_checked_together_come_in_any_order():
    settings = {"objective.capacity": 20, "objective.epsilon_min": 0.04}
    for given in (settings, dict(reversed(settings.items()))):
        config = with_settings(tiny(), {"objective.name": "dro", **given})
        assert (config.objective.capacity, config.objective.epsilon_min) == (20, 0.04)


def test_a_switch_may_be_written_in_any_case():
    assert with_settings(tiny(), {"habits": "False"}).habits is False


@pytest.mark.parametrize("name", ["widht", "objective.kapa", "object.kappa", "a.b.c", "width.x"])
def test_a_setting_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=name):
        with_settings(tiny(), {name: 1})
