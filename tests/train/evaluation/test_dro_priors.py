"""DRO priors of a checkpoint: whom they are found on, and what they do to probabilities."""

import numpy as np
import pytest

from edgebehave_train.evaluation.dro_priors import dro_priors
from edgebehave_train.evaluation.evaluation import ask
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import part_of_event

CAPACITY = 1.2


@pytest.fixture(scope="module")
def asked(tiny_store, tiny_checkpoint):
    parts = part_of_event(tiny_store, tiny_checkpoint.config.split)
    return ask(map_log(tiny_store, tiny_checkpoint.vocabulary), parts, "validation")


def ratios(checkpoint, asked, is_shown):
    """(T, C) r of every target."""
    scorer = dro_priors(checkpoint, asked, [CAPACITY], is_shown)[CAPACITY]
    num_targets = len(asked.targets)
    ones = np.ones((num_targets, asked.behaviors.num_candidates), np.float32)
    return scorer(np.arange(num_targets), ones)


def test_a_prior_is_found_on_the_other_half_of_the_users(tiny_checkpoint, asked):
    ratio_TC = ratios(tiny_checkpoint, asked, is_shown=True)
    _, first, kind = np.unique(ratio_TC, axis=0, return_index=True, return_inverse=True)
    assert len(first) == 2
    assert all(len(np.unique(kind[asked.targets.user == u])) == 1 for u in asked.targets.user)


def test_all_users_share_a_prior_where_another_part_is_shown(tiny_checkpoint, asked):
    ratio_TC = ratios(tiny_checkpoint, asked, is_shown=False)
    assert len(np.unique(ratio_TC, axis=0)) == 1


def test_no_capacity_reads_nothing(asked):
    assert dro_priors(None, asked, [], is_shown=True) == {}
