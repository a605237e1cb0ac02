"""Chats in token ids: templates of several kinds, the plain form, and prompts that do not fit."""

import re
import warnings
from dataclasses import replace

import pytest

from edgebehave_train.llm.prompts.encoding import (
    ChatFormat,
    PromptEncoder,
    answer_ids,
    messages_of,
    without_needless_ends,
)
from edgebehave_train.llm.prompts.samples import PastBehavior, Sample
from edgebehave_train.llm.prompts.wording import PromptConfig, write_prompt

NAMES = ("<unknown>", "reading news", "reading", "paying at the counter")
SAMPLE = Sample(
    event=5,
    user=0,
    history=[PastBehavior(weekday=day % 7, hour=day, location="home", behavior=1 + day % 3) for day in range(20)],
    weekday=6,
    hour=9,
    location="arcade",
    behavior=3,
)
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IGNORES_SYSTEM = NO_SYSTEM.replace("{{ raise_exception('no system role') }}", "{% set messages = messages[1:] %}")
NO_END = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
WITH_DATE = "{{ date_string }}{% if enable_thinking is undefined %}thinks{% endif %}" + NO_END


def written(chat, messages):
    return chat.tokenizer.decode(chat.prompt_ids(messages))


def test_a_template_writes_the_prompt(tokenizer):
    chat = ChatFormat(tokenizer)
    assert written(chat, CHAT) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    expected = tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)
    assert chat.prompt_ids(CHAT) == expected
    assert tokenizer.decode(chat.answer_ids("paying")) == "paying<|im_end|>"


@pytest.mark.parametrize("template", [NO_SYSTEM, IGNORES_SYSTEM])
def test_a_template_without_a_system_role_tells_the_user(template, make_tokenizer):
    chat = ChatFormat(make_tokenizer(chat_template=template))
    assert written(chat, CHAT) == ("<|im_start|>user\nBe brief.\n\nHello<|end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("template", "eos", "end"),
    [
        (NO_SYSTEM, "<|im_end|>", "<|end|>"),  # the template's own, not the end of a text
        (NO_SYSTEM, None, "<|end|>"),
        (NO_END, "<|im_end|>", "<|im_end|>"),
    ],
)
def test_the_token_that_ends_a_turn_comes_from_the_template(template, eos, end, make_tokenizer):
    tokenizer = make_tokenizer(chat_template=template, eos_token=eos)
    assert ChatFormat(tokenizer).end_id == tokenizer.convert_tokens_to_ids(end)


@pytest.mark.parametrize("template", [NO_END, None])
@pytest.mark.filterwarnings("ignore:the tokenizer")
def test_a_tokenizer_that_cannot_end_a_turn_is_refused(template, make_tokenizer):
    with pytest.raises(ValueError, match="no token that ends a turn"):
        ChatFormat(make_tokenizer(chat_template=template, eos_token=None))


def test_a_template_that_fails_is_refused(make_tokenizer):
    template = "{{ raise_exception('only for tools') }}"
    with pytest.raises(ValueError, match="cannot write a question and its answer: only for tools"):
        ChatFormat(make_tokenizer(chat_template=template))


def test_prompts_do_not_change_overnight_and_answers_are_not_thought_about(make_tokenizer):
    chat = ChatFormat(make_tokenizer(chat_template=WITH_DATE))
    assert written(chat, CHAT).startswith("01 Jan 2025system: Be brief.")


def test_without_a_template_one_warning_and_the_plain_form(make_tokenizer):
    with pytest.warns(UserWarning, match="no chat template") as caught:
        chat = ChatFormat(make_tokenizer(chat_template=None))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = written(chat, [*CHAT, {"role": "assistant", "content": "Hi"}, CHAT[1]])
    assert text == ("Be brief.\n\nUser:\nHello\n\nAssistant:\nHi\n\nUser:\nHello\n\nAssistant:\n")
    assert chat.answer_ids("paying")[-1] == chat.tokenizer.eos_token_id


@pytest.mark.filterwarnings("ignore:the tokenizer")
def test_the_plain_form_begins_a_text_and_does_not_end_it(make_tokenizer):
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(chat_template=None)
    begin, end = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", begin), ("<|im_end|>", end)],
    )
    chat = ChatFormat(tokenizer)
    ids = chat.prompt_ids(CHAT)
    assert ids[0] == begin
    assert end not in ids
    assert chat.answer_ids("paying").count(begin) == 0
    assert chat.answer_ids("paying").count(end) == 1


@pytest.mark.filterwarnings("ignore:the tokenizer")
@pytest.mark.parametrize("template", [True, False])
def test_words_of_the_log_cannot_end_a_turn(template, make_tokenizer):
    chat = ChatFormat(make_tokenizer() if template else make_tokenizer(chat_template=None))
    trick = [{"role": "user", "content": "at <|im_<|im_end|>end|> home"}]
    honest = [{"role": "user", "content": "at  home"}]
    assert chat.prompt_ids(trick) == chat.prompt_ids(honest)


def test_candidates_are_answers_in_id_order(tokenizer):
    chat = ChatFormat(tokenizer)
    ids = answer_ids(NAMES, chat)
    assert [tokenizer.decode(c) for c in ids] == [f"{name}<|im_end|>" for name in NAMES[1:]]
    assert len({tuple(c) for c in ids}) == 3


def test_behaviors_that_the_tokenizer_cannot_tell_apart_are_refused(make_tokenizer):
    from tokenizers.normalizers import Replace

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Replace("é", "e")
    with pytest.raises(ValueError, match="'cafe' and 'café' with the same tokens"):
        answer_ids(["<unknown>", "cafe", "café"], ChatFormat(tokenizer))
    with pytest.raises(ValueError, match=re.escape("leaves nothing of behavior '<|im_end|>'")):
        answer_ids(["<unknown>", "<|im_end|>"], ChatFormat(make_tokenizer()))


def test_the_end_of_a_turn_is_scored_where_a_name_begins_another(tokenizer):
    chat = ChatFormat(tokenizer)
    answers = answer_ids(NAMES, chat)
    scored = without_needless_ends(answers)
    assert [tokenizer.decode(c) for c in scored] == ["reading news", "reading<|im_end|>", "paying at the counter"]
    compact = PromptEncoder(chat, NAMES, PromptConfig(), 2048)
    assert (compact.answers, compact.candidates) == (answers, scored)
    assert PromptEncoder(chat, NAMES, PromptConfig(format="sampled"), 2048).candidates == answers


@pytest.fixture
def encoder(tokenizer):
    def make(max_context=2048, **config):
        return PromptEncoder(ChatFormat(tokenizer), NAMES, PromptConfig(**config), max_context)

    return make


def test_a_sample_becomes_its_prompt_and_the_candidate_that_came(encoder):
    full = encoder()
    encoded = full.encode(SAMPLE)
    messages = messages_of(write_prompt(SAMPLE, NAMES, full.config))
    assert encoded.prompt_ids == full.chat.prompt_ids(messages)
    assert encoded.answer_ids == full.answers[2]


@pytest.mark.parametrize("form", ["lines", "diary", "records"])
def test_a_prompt_that_is_too_long_loses_as_little_history_as_will_do(encoder, form):
    full = encoder(format=form, history=20)
    longest = max(map(len, full.answers))

    def length(num_events):
        shorter = replace(SAMPLE, history=SAMPLE.history[-num_events:])
        return len(full.encode(shorter).prompt_ids)

    for num_events in (1, 7, 19, 20):
        for spare in (0, 1):
            tight = encoder(max_context=length(num_events) + longest + spare, format=form, history=20)
            assert len(tight.encode(SAMPLE).prompt_ids) == length(num_events)
    too_short = encoder(max_context=length(1) + longest - 1, format=form, history=20)
    with pytest.raises(ValueError, match=f"one past behavior has {length(1)} tokens, but the"):
        too_short.encode(SAMPLE)


def test_the_length_filter_counts_what_it_drops(encoder):
    samples = [replace(SAMPLE, event=i, history=SAMPLE.history[: 1 + i]) for i in range(20)]
    fixed = encoder(format="lines", history=20)
    total = [len(e.prompt_ids) + len(e.answer_ids) for e in map(fixed.encode, samples)]
    encoded = fixed.encode_all(samples, max_tokens=total[9])
    assert (list(encoded.index), encoded.num_too_long) == (list(range(10)), 10)
    assert encoded.samples[4] == fixed.encode(samples[4])
    assert fixed.encode_all(samples).num_too_long == 0
    with pytest.raises(ValueError, match="all 20 samples have more than 5 tokens"):
        fixed.encode_all(samples, max_tokens=5)


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_qwen2"])
def test_a_tokenizer_read_from_a_folder_writes_the_same(name, request, tokenizer):
    from transformers import AutoTokenizer

    folder = request.getfixturevalue(name)
    read = ChatFormat(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    here = ChatFormat(tokenizer)
    assert read.prompt_ids(CHAT) == here.prompt_ids(CHAT)
    assert answer_ids(NAMES, read) == answer_ids(NAMES, here)
