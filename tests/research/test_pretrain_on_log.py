"""A log as text: every training target once a round, and no other."""

from itertools import islice

from edgebehave_train.llm.prompts.samples import log_samples
from pretrain_on_log import log_chats


def test_a_round_asks_about_every_training_target_once(tiny_store):
    samples = log_samples(tiny_store, "train")
    chats = list(islice(log_chats(tiny_store, seed=1), 2 * len(samples)))
    names = samples.vocabulary.behaviors
    expected = sorted(names[b] for b in samples.behavior.tolist())
    for chat_round in (chats[: len(samples)], chats[len(samples) :]):
        assert sorted(chat[-1]["content"] for chat in chat_round) == expected
    assert [message["role"] for message in chats[0]] == ["system", "user", "assistant"]
    first, second = ({chat[1]["content"] for chat in half} for half in (chats[:200], chats[-200:]))
    assert first != second
    assert list(islice(log_chats(tiny_store, seed=1), 5)) == chats[:5]
