"""Corpora of conversations: two forms, broken lines, every answer a sample, and our own."""

import json
import re
import warnings

import pytest

from edgebehave_train.llm.prompts.conversations import (
    SMALL_CORPUS,
    encode_conversations,
    read_conversations,
)
from edgebehave_train.llm.prompts.encoding import ChatFormat

ASK = {"role": "user", "content": "How are you?"}
FINE = {"role": "assistant", "content": "Fine."}
SYSTEM = {"role": "system", "content": "Be kind."}
GOOD = json.dumps({"messages": [ASK, FINE]})


@pytest.fixture
def corpus(tmp_path):
    """A function that writes lines to a file and returns its path."""

    def write(*lines):
        path = tmp_path / "corpus.jsonl"
        path.write_bytes(b"\n".join(x if isinstance(x, bytes) else x.encode() for x in lines))
        return path

    return write


def test_both_forms_are_read_alike(corpus):
    share = {
        "id": 3,
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "How are you?"},
            {"from": "gpt", "value": "Fine."},
            {"from": "human", "value": "Really?"},
        ],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_conversations(corpus(json.dumps({"messages": [SYSTEM, ASK, FINE]}), "", json.dumps(share)))
    assert list(read.conversations) == [[SYSTEM, ASK, FINE]] * 2
    assert not read.rejected


BROKEN = {
    '{"messages": [': "not JSON",
    "[1, 2]": "not a JSON object",
    '{"text": "hello"}': "neither messages nor conversations",
    '{"messages": "hello"}': "no list of objects",
    '{"messages": ["hello"]}': "no list of objects",
    '{"messages": []}': "no turn of an assistant",
    json.dumps({"messages": [ASK]}): "no turn of an assistant",
    json.dumps({"messages": [SYSTEM]}): "no turn of an assistant",
    json.dumps({"messages": [FINE]}): "a turn of the assistant where the user's was expected",
    json.dumps({"messages": [ASK, ASK, FINE]}): "the user where the assistant's was expected",
    json.dumps({"messages": [ASK, SYSTEM, FINE]}): "not the first",
    json.dumps({"messages": [ASK, {"role": "tool", "content": "5"}]}): "a turn of 'tool'",
    json.dumps({"messages": [ASK, {"role": ["x"], "content": "5"}]}): "not one of",
    json.dumps({"messages": [ASK, {"role": "assistant", "content": None}]}): "without text",
    json.dumps({"messages": [ASK, {"role": "assistant", "content": " "}]}): "without text",
    json.dumps({"messages": [ASK, {"role": "assistant", "content": "\ud83d"}]}): "surrogate pair",
    b'{"messages": "\xff"}': "not UTF-8",
}


@pytest.mark.parametrize(("line", "reason"), BROKEN.items())
def test_a_broken_line_is_skipped_and_told(line, reason, corpus):
    with pytest.warns(UserWarning, match="1 of 2 lines are no conversations") as caught:
        read = read_conversations(corpus(GOOD, line))
    assert len(caught) == 1
    assert len(read) == 1
    ((number, told),) = read.rejected
    assert number == 2
    assert reason in told
    with pytest.raises(ValueError, match=r"holds no conversation \(line 1: "):
        read_conversations(corpus(line))


def test_many_broken_lines_give_one_warning_with_the_first_of_them(corpus):
    with pytest.warns(UserWarning, match=re.escape("line 4: not JSON")) as caught:
        read = read_conversations(corpus("{", GOOD, "{", "{", "{"))
    assert len(caught) == 1
    assert "line 5" not in str(caught[0].message)
    assert [number for number, _ in read.rejected] == [1, 3, 4, 5]


def test_a_corpus_without_a_conversation_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match=r"holds no conversation$"):
        read_conversations(corpus(""))
    with pytest.raises(ValueError, match="cannot be read as a corpus"):
        read_conversations(tmp_path / "nowhere.jsonl")


def test_every_answer_is_a_sample_that_sees_what_was_said_before(corpus, tokenizer):
    more = [SYSTEM, ASK, FINE, {"role": "user", "content": "Why?"}]
    talk = [*more, {"role": "assistant", "content": "The sun is out."}]
    read = read_conversations(corpus(GOOD, json.dumps({"messages": talk})))
    chat = ChatFormat(tokenizer)
    encoded = encode_conversations(read, chat)
    assert encoded.index == [0, 1, 1]
    assert encoded.samples[2].prompt_ids == chat.prompt_ids(more)
    assert encoded.samples[2].answer_ids == chat.answer_ids("The sun is out.")

    length = [len(s.prompt_ids) + len(s.answer_ids) for s in encoded.samples]
    short = encode_conversations(read, chat, max_tokens=length[1])
    assert (short.index, short.num_too_long) == ([0, 1], 1)
    with pytest.raises(ValueError, match=r"all 3 turns .* more than 2 tokens"):
        encode_conversations(read, chat, max_tokens=2)


def test_our_small_corpus_is_whole_and_says_what_it_is(tokenizer):
    read = read_conversations()
    assert not read.rejected
    assert len(read) == 86
    texts = [tuple(m["content"] for m in messages) for messages in read.conversations]
    assert len(set(texts)) == len(texts)
    with SMALL_CORPUS.open(encoding="utf-8") as lines:
        assert "small corpus" in json.loads(next(lines))["about"]
    encoded = encode_conversations(read, ChatFormat(tokenizer), max_tokens=512)
    assert encoded.num_too_long == 0
    assert len(encoded.samples) > len(read)
