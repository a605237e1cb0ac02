"""Dropout by a hash of seed, step, row and position."""

import pytest
import torch

from edgebehave_train.model.row_noise import RowDropout, RowNoise, kept, row_keys, share_noise

CPU = torch.device("cpu")


def test_keys_belong_to_rows_and_positions_however_a_batch_is_cut():
    whole = row_keys(3, 7, 0, (12, 40), CPU)
    assert torch.equal(row_keys(3, 7, 5, (4, 40), CPU), whole[5:9])
    assert torch.equal(row_keys(3, 7, 5, (4, 11), CPU), whole[5:9, :11])
    assert len(whole.unique()) == whole.numel()
    for other in (row_keys(3, 8, 0, (12, 40), CPU), row_keys(4, 7, 0, (12, 40), CPU)):
        assert not (other == whole).any()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_is_dropped_and_choices_do_not_depend_on_each_other(share):
    keys = row_keys(0, 1, 0, (64, 100), CPU)
    stays = kept(keys, 2, 33, share)
    assert stays.shape == (64, 100, 33)
    assert torch.equal(kept(keys, 2, 33, share, torch.bfloat16), stays.bfloat16())
    x = (stays.float() - (1 - share)) / (share * (1 - share)) ** 0.5
    noise = x.numel() ** -0.5
    assert abs(float(x.mean())) < 5 * noise
    others = (
        kept(keys, 3, 33, share),  # another place
        kept(row_keys(0, 2, 0, (64, 100), CPU), 2, 33, share),  # another step
        stays.roll(1, 0),  # another row
        stays.roll(1, 1),
        stays.roll(1, 2),
    )
    for other in others:
        y = (other.float() - (1 - share)) / (share * (1 - share)) ** 0.5
        assert abs(float((x * y).mean())) < 5 * noise


def test_all_or_nothing_may_stay():
    keys = row_keys(0, 1, 0, (4, 5), CPU)
    assert kept(keys, 0, 3, 0.0).all()
    assert not kept(keys, 0, 3, 1.0).any()


def test_no_number_is_asked_for_where_there_is_none():
    empty = torch.zeros(0, dtype=torch.int32)
    assert kept(empty, 0, 1, 0.5).shape == (0, 1)
    noise = RowNoise()
    with noise.keyed(row_keys(0, 0, 0, (1, 3), CPU), torch.zeros(0, dtype=torch.int64)):
        assert noise.kept_targets(0, torch.zeros(0), 0.5).shape == (0,)


def test_dropout_is_keyed_inside_of_a_step_and_that_of_torch_outside():
    model = torch.nn.Sequential(RowDropout(0.25), RowDropout(0.25))
    noise = share_noise(model)
    x = torch.ones(2, 5, 8)
    with noise.keyed(row_keys(1, 2, 0, (2, 5), CPU), torch.tensor([3, 9])):
        once, again = model[0](x), model[0](x)
        assert torch.equal(once, again)
        assert not torch.equal(once, model[1](x))
        assert once.unique().tolist() == pytest.approx([0, 4 / 3])
        # A target has the key of its event.
        assert torch.equal(model[0](torch.ones(2, 8)), once.flatten(0, 1)[[3, 9]])
    torch.manual_seed(0)
    expected = torch.nn.functional.dropout(x, 0.25)
    torch.manual_seed(0)
    assert torch.equal(model[0](x), expected)
    assert torch.equal(model.eval()(x), x)
