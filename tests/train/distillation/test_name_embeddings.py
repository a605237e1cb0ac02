"""Names as a start: what is kept of their geometry, and that similar names get similar rows."""

import numpy as np
import pytest
import torch

from edgebehave.vocabulary import NO_BEHAVIOR, Vocabulary
from edgebehave_train.distillation.name_embeddings import (
    NameEmbeddings,
    begin_with_names,
    explained_share,
    mean_token_embeddings,
    predicted_rows,
    ridge_fit,
    turned_rows,
    words_of,
)
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig

GENERATOR = torch.Generator


def letters(names):
    """A stand-in for a language model: how often each letter occurs."""
    return torch.stack([torch.tensor([float(name.count(c)) for c in "abcdefgh "]) for name in names])


NAMES = NameEmbeddings(embed=letters, readable={"b1": "a bad bag"}, card={})
WORDS = Vocabulary(
    events=["<unknown>", "bed.head", "cafe", "screen"],
    locations=["<unknown>"],
    behaviors=["<unknown>", "b1", "face"],
    event_to_behavior=[0, 1, 2, NO_BEHAVIOR],
)


def test_words_of_a_name():
    assert words_of("clip_editor.cut") == "clip editor cut"
    assert words_of("Café (bar)") == "Café bar"
    assert words_of("...") == "..."


def test_tokens_are_averaged():
    weight = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 9.0]], dtype=torch.bfloat16)
    rows = mean_token_embeddings(weight, lambda name: [int(c) for c in name], ["01", "2"])
    assert rows.tolist() == [[2.0, 2.0], [0.0, 9.0]]
    with pytest.raises(ValueError, match="no token of the name ''"):
        mean_token_embeddings(weight, lambda name: [], [""])


def test_an_event_has_half_of_its_behavior():
    of_behaviors, of_events = NAMES.of_behaviors(WORDS), NAMES.of_events(WORDS)
    torch.testing.assert_close(of_behaviors, letters(["a bad bag", "face"]))
    torch.testing.assert_close(of_events[0], letters(["bed head", "a bad bag"]).mean(0))
    torch.testing.assert_close(of_events[2], letters(["screen"])[0])


def test_turned_rows_keep_the_geometry():
    vectors = torch.randn(12, 40, generator=GENERATOR().manual_seed(0))
    rows = turned_rows(vectors, 30, 0.05, GENERATOR().manual_seed(1))
    assert rows.shape == (12, 30)
    assert rows.std().item() == pytest.approx(0.05, rel=1e-4)
    distance, before = torch.cdist(rows, rows), torch.cdist(vectors, vectors)
    ratio = (distance / before)[~torch.eye(12, dtype=torch.bool)]
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)
    # Fewer columns than axes keep the main ones.
    line = torch.outer(torch.arange(12.0), torch.ones(40)) + 1e-3 * vectors
    narrow = turned_rows(line, 4, 1.0, GENERATOR().manual_seed(1))
    assert np.corrcoef(torch.cdist(narrow, narrow)[0], torch.arange(12.0))[0, 1] > 0.999


def test_names_that_are_all_alike_leave_noise():
    rows = turned_rows(torch.ones(6, 5), 8, 0.1, GENERATOR().manual_seed(0))
    assert rows.isfinite().all()
    assert rows.std().item() == pytest.approx(0.1, rel=0.5)


def test_a_prediction_by_hand():
    # Centered names are +-x and +-y; the new name is x itself. With ridge l its kernel row is
    # (1, -1, 0, 0), and K has eigenvalue 2 along the rows' own direction: 2 / (2 + l) of the row.
    known = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    rows = torch.tensor([[3.0], [1.0], [2.0], [2.0]])
    value = predicted_rows(known, rows, torch.tensor([[2.0, 0.0]]), torch.arange(4)).item()
    assert value == pytest.approx(2 + 2 / (2 + 1e-3), rel=1e-5)


def test_similar_names_get_similar_rows():
    generator = GENERATOR().manual_seed(0)
    vectors = torch.randn(40, 64, generator=generator)
    map_EW = torch.randn(64, 16, generator=generator)
    rows = vectors @ map_EW + 5
    predicted = predicted_rows(vectors[:36], rows[:36], vectors[36:], torch.arange(36))
    mean = rows[:36].mean(0)
    assert ((predicted - rows[36:]) ** 2).mean() < 0.75 * ((mean - rows[36:]) ** 2).mean()


def test_names_that_say_nothing_give_the_mean_row():
    # Fewer names than axes, so that any rows can be interpolated: only leaving out tells.
    generator = GENERATOR().manual_seed(1)
    rows = torch.randn(30, 16, generator=generator)
    known, new = (torch.randn(n, 64, generator=generator) for n in (30, 5))
    predicted = predicted_rows(known, rows, new, torch.arange(30))
    assert (predicted - rows.mean(0)).abs().max() < 0.25
    two = predicted_rows(torch.eye(2), rows[:2], torch.eye(2)[:1], torch.arange(2))
    torch.testing.assert_close(two[0], rows[:2].mean(0))


def test_names_explain_rows_that_follow_them_and_no_others():
    generator = GENERATOR().manual_seed(3)
    known, turn = torch.randn(30, 6, generator=generator), torch.randn(6, 4, generator=generator)
    of_names = torch.nn.functional.normalize(known - known.mean(0), dim=1) @ turn
    noise = torch.randn(30, 4, generator=generator)
    assert explained_share(known, of_names, torch.arange(30)) > 0.9
    assert 0 <= explained_share(known, noise, torch.arange(30)) < 0.1


def test_the_error_is_that_of_leaving_groups_out():
    generator = GENERATOR().manual_seed(2)
    names, rows = (torch.randn(9, n, generator=generator, dtype=torch.float64) for n in (5, 3))
    kernel, group = names @ names.T, torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4])
    *_, error = ridge_fit(kernel, rows, group, 0.5)
    squares = torch.zeros(9, 3, dtype=torch.float64)
    for one in group.unique():
        out, rest = (group == one).nonzero()[:, 0], (group != one).nonzero()[:, 0]
        weight, constant, _ = ridge_fit(kernel[rest][:, rest], rows[rest], group[rest], 0.5)
        squares[out] = (constant + kernel[out][:, rest] @ weight - rows[out]) ** 2
    assert error == pytest.approx(squares.mean().item(), rel=1e-9)


def test_a_fresh_model_begins_with_names():
    config = ModelConfig(num_events=4, num_locations=1, num_behaviors=3, width=32, num_heads=2)
    torch.manual_seed(0)
    model = BehaviorModel(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    begin_with_names(model, WORDS, NAMES, 3)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"event.weight", "head_out.weight"}
    for name in changed:
        assert torch.equal(before[name][0], after[name][0])
        assert after[name][1:].std().item() == pytest.approx(before[name][1:].std().item(), rel=1e-3)
    again = BehaviorModel(config)
    again.load_state_dict(before)
    begin_with_names(again, WORDS, NAMES, 3)
    assert torch.equal(again.event.weight, model.event.weight)
