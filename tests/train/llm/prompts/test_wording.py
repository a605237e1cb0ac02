"""What a prompt says in each format, what it never says, and what it depends on."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave_train.llm.prompts.samples import PastBehavior, Sample
from edgebehave_train.llm.prompts.wording import FORMATS, PromptConfig, write_prompt

NAMES = ("<unknown>", "reading news", "paying", "gaming")
SAMPLE = Sample(
    event=5,
    user=0,
    history=(
        PastBehavior(weekday=0, hour=8, location="home", behavior=1),
        PastBehavior(weekday=0, hour=12, location=None, behavior=2),
        PastBehavior(weekday=1, hour=0, location="home", behavior=1),
    ),
    weekday=6,
    hour=9,
    location="arcade",
    behavior=3,
)
FIXED = PromptConfig(format="sampled", candidates="vocabulary")

WRITTEN = {
    "lines": """Lately (day hour place: behavior), oldest first:
Mon 08 home: reading news
Mon 12: paying
Tue 00 home: reading news

It will be one of these:
reading news
paying
gaming

The time is Sun 09. Reply with the name of the behavior and nothing else.""",
    "diary": """The diary so far:
[Mon]
08h reading news @ home
12h paying
[Tue]
00h reading news @ home

Entries to choose from:
reading news
paying
gaming

Next entry: [Sun] 09h. Which behavior stands there? Only its name, please.""",
    "records": """Possible behaviors:
reading news
paying
gaming

Records (weekday, hour, place, behavior):
(Mon, 08, home, reading news)
(Mon, 12, -, paying)
(Tue, 00, home, reading news)
(Sun, 09, -, ?)

Give the behavior that replaces the question mark, exactly as it is named.""",
}


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_in_full(form):
    prompt = write_prompt(SAMPLE, NAMES, replace(FIXED, format=form))
    assert prompt.user == WRITTEN[form]
    assert prompt.answer == "gaming"
    assert prompt.system


@pytest.mark.parametrize("form", FORMATS)
def test_the_location_of_the_next_behavior_is_told_by_a_switch_only(form):
    config = PromptConfig(format=form)
    assert write_prompt(SAMPLE, NAMES, config) == write_prompt(replace(SAMPLE, location="elsewhere"), NAMES, config)
    told = write_prompt(SAMPLE, NAMES, replace(config, location_of_next=True)).user
    assert told.count("arcade") == 1
    unknown = replace(SAMPLE, location=None)
    assert write_prompt(unknown, NAMES, replace(config, location_of_next=True)) == write_prompt(unknown, NAMES, config)


def test_the_compact_format_begins_alike_and_tells_the_history_in_few_words():
    config = PromptConfig(candidates="vocabulary")
    assert config.format == "compact"
    twice = replace(SAMPLE, history=[*SAMPLE.history, SAMPLE.history[-1], SAMPLE.history[-1]])
    prompt = write_prompt(twice, NAMES, config)
    assert (
        prompt.user
        == """Reply with one of these names and nothing else:
reading news
paying
gaming

The diary, oldest first:
Mon
8 @home reading news
12 paying
Tue
0 reading news x3
Sun 9 ?"""
    )
    there = write_prompt(SAMPLE, NAMES, replace(config, location_of_next=True)).user
    assert there.endswith("\nSun 9 @arcade ?")
    # The list is that of the model, in an order of its seed.
    shuffled = [write_prompt(replace(SAMPLE, event=event), NAMES, PromptConfig()).user for event in range(5)]
    assert len(set(shuffled)) == 1
    orders = {write_prompt(SAMPLE, NAMES, PromptConfig(seed=seed)).user for seed in range(50)}
    assert len(orders) == 6


def test_the_format_of_a_sample_is_drawn_once_and_evenly():
    def format_of(event, config):
        user = write_prompt(replace(SAMPLE, event=event), NAMES, config).user
        return next(form for form, text in WRITTEN.items() if user[:5] == text[:5])

    drawn = [format_of(event, FIXED) for event in range(900)]
    assert drawn == [format_of(event, FIXED) for event in range(900)]
    assert all(250 < drawn.count(form) < 350 for form in FORMATS)
    other = [format_of(event, replace(FIXED, seed=1)) for event in range(900)]
    assert 500 < sum(a != b for a, b in zip(drawn, other, strict=True)) < 700


def test_candidates_are_shuffled_for_each_sample_alike_in_every_format():
    def order(event, form):
        config = PromptConfig(format=form)
        lines = write_prompt(replace(SAMPLE, event=event), NAMES, config).user.splitlines()
        return tuple(line for line in lines if line in NAMES)

    orders = {event: order(event, "lines") for event in range(100)}
    assert len(set(orders.values())) == 6
    assert all(order(event, "records") == seen for event, seen in orders.items())


def test_without_candidates_no_line_lists_them():
    for form in FORMATS:
        prompt = write_prompt(SAMPLE, NAMES, PromptConfig(format=form, candidates="none"))
        assert "gaming" not in prompt.user
        assert "\n\n\n" not in prompt.user


def test_the_oldest_history_is_left_out_first():
    prompt = write_prompt(SAMPLE, NAMES, PromptConfig(format="records", history=1))
    assert "(Tue, 00, home, reading news)\n(Sun, 09" in prompt.user
    assert "Mon" not in prompt.user


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**9), st.permutations([1, 2, 3]), st.sampled_from(FORMATS))
def test_the_answer_changes_nothing_but_the_answer(event, behaviors, form):
    config = PromptConfig(format=form)
    prompts = [write_prompt(replace(SAMPLE, event=event, behavior=b), NAMES, config) for b in behaviors]
    assert len({(prompt.system, prompt.user) for prompt in prompts}) == 1
    assert [prompt.answer for prompt in prompts] == [NAMES[b] for b in behaviors]


@pytest.mark.parametrize(
    "wrong", [{"format": "poem"}, {"candidates": "random"}, {"answers": "words"}, {"history": 0}, {"seed": -1}]
)
def test_wrong_configs_name_the_field(wrong):
    (field,) = wrong
    with pytest.raises(ValueError, match=f"prompt: {field} must be"):
        PromptConfig(**wrong)


@pytest.mark.parametrize("form", FORMATS)
def test_a_location_is_no_more_than_a_part_of_its_line(form):
    config = replace(FIXED, format=form, location_of_next=True)
    past = replace(SAMPLE.history[0], location="at\n\nhome ")
    broken = replace(SAMPLE, history=(past,), location="the\narcade")
    whole = replace(SAMPLE, history=(replace(past, location="at home"),), location="the arcade")
    assert write_prompt(broken, NAMES, config) == write_prompt(whole, NAMES, config)
