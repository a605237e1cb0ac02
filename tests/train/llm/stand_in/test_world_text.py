"""The world's text: all behaviors alike, no log, no prompt, and frozen."""

import ast
import hashlib
import json
import random
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from edgebehave_train.llm.prompts.samples import PastBehavior, Sample
from edgebehave_train.llm.prompts.wording import FORMATS, PromptConfig, write_prompt
from edgebehave_train.llm.stand_in import world_chat, world_diaries, world_kinship, world_text
from edgebehave_train.llm.stand_in.world_diaries import draw_diary, typical_hours
from edgebehave_train.llm.stand_in.world_kinship import AKIN, ANCHORS, CUE_WORDS, KINDS, NAMES, action
from edgebehave_train.llm.stand_in.world_text import Message, conversations, situations, texts
from edgebehave_train.simulator.world import CUES, LOCATION_KINDS

MODULES = (world_chat, world_diaries, world_kinship, world_text)


def as_text(text: str | list[Message]) -> str:
    return text if isinstance(text, str) else "\n".join(m["content"] for m in text)


@pytest.fixture(scope="module")
def many() -> list[str]:
    return [as_text(text) for text in islice(texts(0), 4000)]


def test_the_text_is_frozen() -> None:
    """Frozen before any model was tuned: a change here would move the goalposts."""
    some = [*islice(texts(0), 700), *islice(conversations(0), 200)]
    digest = hashlib.sha256(json.dumps([*some, *islice(situations(0), 200)]).encode()).hexdigest()
    assert digest == "9789de44435fa2d6b4a7684fdb748d6232745aa6a420f6316ff35b55af8f072f", (
        f"the world's text changed: {digest}"
    )


def test_every_behavior_of_the_tail_has_kin_among_the_anchors() -> None:
    assert set(AKIN) == set(NAMES) - set(ANCHORS)
    assert {anchor for kin in AKIN.values() for anchor, _ in kin} <= set(ANCHORS)
    assert {name for names in KINDS.values() for name in names} == set(NAMES)
    for kind, names in KINDS.items():
        assert names[0] in ANCHORS, kind
    assert set(CUE_WORDS) == {cue.event for cue in CUES}
    assert action("clip_editor.publish") == "publish in the clip editor"


def test_behaviors_are_about_equally_common() -> None:
    rng = random.Random(1)
    diaries = [draw_diary(rng) for _ in range(3700)]
    last = Counter(diary.behavior for diary in diaries)
    assert min(last[name] for name in NAMES) > 65  # of 100; binomial, s = 9.9
    before = Counter(line.behavior for diary in diaries for line in diary.lines[:-1])
    assert max(before[name] for name in NAMES) < 3 * min(before[name] for name in NAMES)


def test_a_diary_runs_forward_in_time() -> None:
    rng = random.Random(2)
    for diary in (draw_diary(rng) for _ in range(500)):
        moments = [(line.day, line.hour) for line in diary.lines]
        assert 2 <= len(moments) <= 24
        assert moments == sorted(moments)
        assert all(0 <= line.hour < 24 and line.location in LOCATION_KINDS for line in diary.lines)
        assert "{b}" in diary.reason


def test_typical_hours_are_those_of_the_clock() -> None:
    assert 8 in typical_hours("taking the subway")
    assert 3 not in typical_hours("taking the subway")


def test_streams_and_seeds_differ_and_repeat() -> None:
    def first(seed: int, stream: world_text.Stream) -> list[str]:
        return [as_text(text) for text in islice(texts(seed, stream), 30)]

    assert first(0, "pretraining") == first(0, "pretraining")
    assert first(0, "pretraining") != first(1, "pretraining")
    assert first(0, "pretraining") != first(0, "auxiliary")
    read = set(islice((m[-1]["content"] for m, _ in situations(0, "pretraining")), 300))
    held_out = {m[-1]["content"] for m, _ in islice(situations(0), 300)}
    assert len(read & held_out) < 6  # the shortest of diaries may coincide


def test_conversations_are_chats_that_predict_nothing() -> None:
    for messages in islice(conversations(0), 300):
        roles = [m["role"] for m in messages]
        assert roles[-1] == "assistant"
        assert roles[roles[0] == "system" :] == ["user", "assistant"] * (len(roles) // 2)
        assert all(m["content"] == m["content"].strip() != "" for m in messages)
        assert len(as_text(messages)) < 1200  # a diary is longer, as a rule


def test_no_log_and_no_frequency_takes_part() -> None:
    for module in MODULES:
        tree = ast.parse(Path(str(module.__file__)).read_text())
        imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        ours = {name for name in imported if name and name.startswith("edgebehave")}
        assert ours <= {
            *(m.__name__ for m in MODULES),
            "edgebehave_train.simulator.users",
            "edgebehave_train.simulator.world",
        }
        read = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert not read & {"share", "taste", "adopters", "weight", "rate"}


# ---------------------------------------------------------------------------- no prompts

_DAY = r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun|Tue|Wed|Thu|Sat)(?:day)?\b"
_BEHAVIOR = "|".join(sorted(NAMES, key=len, reverse=True))


def shape(line: str) -> str:
    """A line with its weekdays, hours, locations and behaviors replaced by their kind."""
    line = re.sub(_BEHAVIOR, "B", line)
    line = re.sub(_DAY, "D", line, flags=re.IGNORECASE)
    line = re.sub(r"\b(?:[a-z_]+\.)?(?:" + "|".join(LOCATION_KINDS) + r")(?:[_ ]\d+)?\b", "P", line)
    return re.sub(r"\b\d+", "N", line)


def prompts() -> list[str]:
    rng = random.Random(0)
    written = []
    for format in FORMATS:
        for event in range(10):
            history = tuple(
                PastBehavior(
                    weekday=rng.randrange(7),
                    hour=rng.randrange(24),
                    location=rng.choice(("home", "work", "berlin.park_03")),
                    behavior=rng.randrange(1, 38),
                )
                for _ in range(20)
            )
            sample = Sample(event=event, user=0, history=history, weekday=0, hour=8, location=None, behavior=1)
            prompt = write_prompt(sample, ("<unknown>", *NAMES), PromptConfig(format=format))
            written.append(f"{prompt.system}\n{prompt.user}")
    return written


def test_no_prompt_and_no_line_of_one_occurs(many: list[str]) -> None:
    """Names alone on a line, the candidates, are no format; everything else of a prompt is."""
    asked = {shape(line) for prompt in prompts() for line in prompt.splitlines()} - {"B", ""}
    assert {"D N P: B", "(D, N, P, B)"} <= asked
    world = {shape(line) for text in many for line in text.splitlines()}
    assert not asked & world

    def runs(text: str) -> set[str]:
        words = re.findall(r"[a-z]+", text.lower())
        return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)}

    system = {line for prompt in prompts() for line in prompt.splitlines() if len(line) > 40}
    sentences = {run for line in system if not re.search(_BEHAVIOR, line) for run in runs(line)}
    assert len(sentences) > 50
    assert not sentences & {run for text in many for run in runs(text)}
