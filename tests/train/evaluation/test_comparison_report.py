"""The distance to a curve and the rule that chooses, by hand."""

import pytest

from edgebehave_train.evaluation.comparison_report import ComparedRow, above_curve, choose

CURVE = [
    {"hr_at_1": 0.40, "macro_recall": 0.10},
    {"hr_at_1": 0.30, "macro_recall": 0.20},
    {"hr_at_1": 0.20, "macro_recall": 0.16},
]


@pytest.mark.parametrize(
    ("hr_at_1", "macro_recall", "expected"),
    [
        (0.35, 0.15, 0.0),  # on the line between two points
        (0.35, 0.18, 0.03),
        (0.30, 0.19, -0.01),
        (0.45, 0.12, 0.02),  # better in HR@1 than all of the curve
        (0.10, 0.19, -0.01),  # behind its end: the best of it is in reach
    ],
)
def test_the_distance_to_a_curve_by_hand(hr_at_1, macro_recall, expected):
    point = {"hr_at_1": hr_at_1, "macro_recall": macro_recall}
    assert above_curve(point, CURVE) == pytest.approx(expected)


def row(name, hr_at_1, macro_recall, tau=0.0, is_baseline=False) -> ComparedRow:
    metrics = [{"hr_at_1": h, "macro_recall": macro_recall} for h in (hr_at_1 - 0.1, hr_at_1 + 0.1)]
    return ComparedRow(name=name, is_baseline=is_baseline, tau=tau, metrics=metrics, above_reference=[])


def test_the_rule_takes_macro_recall_among_those_near_the_best_hr():
    rows = [
        row("habits", 0.60, 0.50, is_baseline=True),
        row("ce", 0.400, 0.10),
        row("near", 0.396, 0.14),
        row("far", 0.380, 0.30),
        row("ce", 0.399, 0.40, tau=0.5),
    ]
    assert choose(rows, "ce") == "near"
    assert choose(rows[:2], "ce") == "ce"
    assert choose(rows, "far") == "near", "the reference itself is too far from the best HR@1"


def test_the_rule_keeps_the_reference_unless_the_seeds_agree():
    def with_macro(name, *macro_recall):
        metrics = [{"hr_at_1": 0.4, "macro_recall": value} for value in macro_recall]
        return ComparedRow(name=name, is_baseline=False, tau=0.0, metrics=metrics, above_reference=[])

    ce = with_macro("ce", 0.10, 0.11, 0.12)
    assert choose([ce, with_macro("steady", 0.12, 0.13, 0.14)], "ce") == "steady"
    assert choose([ce, with_macro("noisy", 0.20, 0.11, 0.08)], "ce") == "ce"
    assert choose([with_macro("ce", 0.1), with_macro("once", 0.2)], "ce") == "ce"
