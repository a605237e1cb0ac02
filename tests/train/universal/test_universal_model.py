"""Properties of the universal model: what an answer depends on, and what it does not."""

import numpy as np
import pytest
import torch

from edgebehave_train.universal.answers import READ_EVENTS
from edgebehave_train.universal.sequences import NO_NAME, Sequences
from edgebehave_train.universal.universal_model import NEVER, UniversalConfig, nearness

NUM_NAMES, LENGTH = 12, 640


def random_sequences(length=LENGTH, seed=0) -> Sequences:
    """One user with a dozen names, all of them among the first and the last hundred behaviors."""
    rng = np.random.default_rng(seed)
    name = rng.integers(NUM_NAMES, size=length)
    name[-40:-28] = name[:12] = np.arange(NUM_NAMES)
    location = rng.integers(-1, 4, size=length)
    local_s = np.cumsum(rng.integers(1, 20_000, size=length)) + 1_500_000_000
    return Sequences(*(torch.from_numpy(column[None]) for column in (name, location, local_s)))


def changed(sequences: Sequences, which: slice) -> Sequences:
    name, location, local_s = (column.clone() for column in sequences)
    name[:, which] = (name[:, which] + 5) % NUM_NAMES
    location[:, which] = (location[:, which] + 2) % 4
    local_s[:, which] += 12_345
    return Sequences(name, location, local_s)


@torch.no_grad()
def logits(model, sequences, query, is_timed=None):
    return model(sequences, torch.tensor(query), is_timed).logits


def test_an_answer_depends_on_the_last_512_behaviors_alone(model):
    assert READ_EVENTS == 512
    sequences, query = random_sequences(), LENGTH - 1
    answer = logits(model, sequences, [query])
    out_of_reach = changed(sequences, slice(0, query - READ_EVENTS))
    assert torch.equal(logits(model, out_of_reach, [query]), answer)
    within_reach = changed(sequences, slice(query - READ_EVENTS, query - READ_EVENTS + 5))
    assert not torch.equal(logits(model, within_reach, [query]), answer)


def test_an_answer_never_depends_on_what_comes(model):
    sequences, query = random_sequences(), LENGTH - 10
    answer = logits(model, sequences, [query])
    assert torch.equal(logits(model, changed(sequences, slice(query + 1, None)), [query]), answer)
    # Of the behavior itself, its time alone is known.
    itself = changed(sequences, slice(query, query + 1))
    timed = Sequences(itself.name, itself.location, sequences.local_s)
    assert torch.equal(logits(model, timed, [query]), answer)
    assert not torch.equal(logits(model, itself, [query]), answer)


@pytest.mark.parametrize("moved_s", [50_000, -10_000_000])
def test_a_query_without_time_does_not_depend_on_it(model, moved_s):
    sequences, query = random_sequences(60), 59
    untimed = torch.tensor([[False]])
    local_s = sequences.local_s.clone()
    local_s[:, query] += moved_s
    moved = Sequences(sequences.name, sequences.location, local_s)
    answer = logits(model, sequences, [query], untimed)
    assert torch.equal(logits(model, moved, [query], untimed), answer)
    assert not torch.equal(logits(model, sequences, [query]), answer)


def test_some_queries_with_and_some_without_time(model):
    sequences = random_sequences(60)
    mixed = logits(model, sequences, [40, 50], torch.tensor([[True, False]]))
    torch.testing.assert_close(mixed[:, :1], logits(model, sequences, [40]))
    torch.testing.assert_close(mixed[:, 1:], logits(model, sequences, [50], torch.tensor([[False]])))


def test_queries_together_and_alone_have_the_same_answers(model):
    sequences = random_sequences(200)
    together = logits(model, sequences, [150, 3, 199])
    for row, query in enumerate([150, 3, 199]):
        torch.testing.assert_close(together[:, row], logits(model, sequences, [query])[:, 0], rtol=1e-4, atol=1e-5)


def test_names_may_be_renumbered(model):
    sequences, query = random_sequences(100), [50, 99]
    renumbering = torch.randperm(NUM_NAMES, generator=torch.Generator().manual_seed(1))
    renumbered = Sequences(renumbering[sequences.name], sequences.location, sequences.local_s)
    answer, other = logits(model, sequences, query), logits(model, renumbered, query)
    torch.testing.assert_close(other[..., renumbering], answer[..., :NUM_NAMES], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other[..., -1], answer[..., -1], rtol=1e-5, atol=1e-5)


def test_any_numbers_serve_as_names(make_user):
    name, location, local_s = make_user(50)
    plain = Sequences.of_arrays([(name, location, local_s)])
    assert torch.equal(plain.name, Sequences.of_arrays([(1000 - 7 * name, location, local_s)]).name)
    assert plain.name[0].tolist() == name.tolist()  # a world's names stand in the order of use


def test_padding_changes_nothing(model, make_user):
    short, long = make_user(40), make_user(90, seed=1)
    batch, query = Sequences.of_arrays([short, long]), torch.tensor([20, 39])
    assert batch.name[0, 40:].eq(NO_NAME).all()
    with torch.no_grad():
        together, alone = model(batch, query), model(Sequences.of_arrays([short]), query)
        num_names = alone.logits.shape[2] - 1
        torch.testing.assert_close(together.logits[:1, :, :num_names], alone.logits[..., :num_names])
        torch.testing.assert_close(together.logits[:1, :, -1], alone.logits[..., -1])
        assert together.is_asked.all()
        # Whatever stands behind the end.
        location, local_s = batch.location.clone(), batch.local_s.clone()
        location[0, 40:], local_s[0, 40:] = 1, 10**9
        assert torch.equal(model(Sequences(batch.name, location, local_s), query).logits, together.logits)
        behind = model(batch, torch.tensor([39, 60]))
    assert behind.is_asked.tolist() == [[True, False], [True, True]]
    assert behind.nll().shape == (3,)


def test_probabilities_sum_to_one_with_the_new_name(model, make_user):
    user = make_user(120)
    sequences = Sequences.of_arrays([user])
    with torch.no_grad():
        answers = model(sequences, torch.arange(120))
    probs = answers.logits.softmax(-1)[0]
    for query in range(120):
        used = sorted(set(user[0][:query].tolist()))
        assert probs[query, [*used, -1]].sum() == pytest.approx(1, abs=1e-5)
        unused = [c for c in range(probs.shape[1] - 1) if c not in used]
        assert (answers.logits[0, query, unused] == NEVER).all()
        is_new = user[0][query] not in used
        assert answers.target[0, query] == (probs.shape[1] - 1 if is_new else user[0][query])
    assert probs[0, -1] == 1  # before the first behavior every name is new


def test_the_first_choice_of_a_kernel_is_1_and_half_as_likely_a_name_a_sixteenth():
    shares = torch.tensor([[0.6, 0.1], [0.3, 0.4]]).log()  # two names, two kernels
    expected = torch.tensor([[1, 1 / 256], [1 / 16, 1]])
    torch.testing.assert_close(nearness(shares, shares.amax(0)), expected)


def test_a_shape_of_nothing_is_refused():
    with pytest.raises(ValueError, match="cue_width must be at least 1, got 0"):
        UniversalConfig(cue_width=0)
