"""The simulator's world as text, on which a small language model is trained before it is tuned.

It takes the place of a pretrained language model's knowledge of everyday life. The text holds facts
(kinds of behaviors, where, when and after what they are done, similar behaviors) and diaries of
made-up people whose behaviors are drawn nearly uniformly, as in an encyclopedia. It uses no
simulated log and no frequency of one, and holds none of the prompts that the model is tuned with.
docs/world_text.md describes it; a test pins its text.

The streams have different seeds and are disjoint: the text of pretraining, the conversations that
tuning mixes in, and held-out situations that measure the model's knowledge.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from edgebehave_train.llm.stand_in.world_chat import SMALL_TALK, WEEKDAYS, part_of_day
from edgebehave_train.llm.stand_in.world_diaries import (
    BEHAVIOR,
    Diary,
    Line,
    draw_diary,
    trigger_clause,
    typical_hours,
    typical_locations,
    with_article,
)
from edgebehave_train.llm.stand_in.world_kinship import AKIN, AT_LOCATION, CUE_WORDS, KINDS, NAMES, action
from edgebehave_train.simulator.world import CUES, PERSONAS, TRIGGERS, ZONES

Stream = Literal["pretraining", "auxiliary", "held out"]
Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": ...}"""

_CHAT_SHARE = 0.3  # of the pretraining texts: conversations
_DIARY_SHARE = 0.5  # of the others: diaries
_SYSTEM_SHARE = 0.2
_SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "You know a lot about everyday life.")

_UNNUMBERED = ("home", "work", "transit", "away")
# Forms of a diary's line: weekday, hour, location, behavior. Each diary keeps to one; where the form
# has no weekday, a heading has it.
_DAYS: tuple[Callable[[int], str], ...] = (
    lambda d: WEEKDAYS[d % 7],
    lambda d: WEEKDAYS[d % 7][:3],
    lambda d: WEEKDAYS[d % 7].lower(),
)
_HOURS: tuple[Callable[[int], str], ...] = (
    lambda h: f"{h:02d}:00",
    lambda h: f"{h % 12 or 12} {'am' if h < 12 else 'pm'}",
    lambda h: f"{h} o'clock",
    lambda h: f"{h}:00",
    lambda h: f"{h:02d}",
    lambda h: f"{h}h",
)
_LOCATIONS: tuple[Callable[[str, int, str], str], ...] = (
    lambda p, n, city: p,
    lambda p, n, city: p if p in _UNNUMBERED else f"{p} {n}",
    lambda p, n, city: p if p in _UNNUMBERED else f"{city.replace(' ', '_')}.{p}_{n:02d}",
)
_LINES = (
    "{d} at {h}, {at}: {b}{x}\n",
    "{b}{x} @ {p}, {d} {h}\n",
    "* {d} {h} {p} > {b}{x}\n",
    "{d}; {h}; {p}; {b}{x}\n",
    "{d} | {h} | {p} | {b}{x}\n",
    "At {h} on {d}, {at}: {b}{x}. ",
    "{p}, {d}, {h}: {b}{x} / ",
    "{d} {h} {b}{x}\n",
    "{h} ({d}) {p} - {b}{x}\n",
    "{h} - {b}{x}, {p}\n",
    "{h} {p}, {b}{x}\n",
)
_BETWEEN_OPTIONS = (", ", " / ", "\n", " or ", "\n- ")
_ASKS = (
    "And on {d} at {h}? {b}",
    "Then {d}, {h}: {b}",
    "What came at {h} on {d}? {b}",
    "Later, {d} {h}: {b}",
    "{d} at {h} this person is {b}",
)


def _rng(stream: Stream, seed: int, what: str) -> random.Random:
    return random.Random(f"{stream}/{what}/{seed}")


def texts(seed: int, stream: Stream = "pretraining") -> Iterator[str | list[Message]]:
    """The text of pretraining, without end: documents, and conversations for a template."""
    rng = _rng(stream, seed, "texts")
    while True:
        if rng.random() < _CHAT_SHARE:
            yield _prediction_talk(rng) if rng.random() < 0.5 else _conversation(rng)
        else:
            yield _document(rng)


def conversations(seed: int, stream: Stream = "auxiliary") -> Iterator[list[Message]]:
    """General conversations, without end: small talk and facts; no behavior is predicted."""
    rng = _rng(stream, seed, "conversations")
    while True:
        yield _conversation(rng)


def situations(seed: int, stream: Stream = "held out") -> Iterator[tuple[list[Message], str]]:
    """Questions that lead to one behavior, with the behavior, without end.

    A question is a user's diary with the reason before its last line; no other stream holds the same.
    """
    rng = _rng(stream, seed, "situations")
    while True:
        diary = draw_diary(rng)
        lead, behavior, _ = _told(rng, diary, reason_first=True)
        yield _messages(rng, [(lead.rstrip(), behavior)])[:-1], behavior


def _document(rng: random.Random) -> str:
    if rng.random() < _DIARY_SHARE:
        lead, answer, after = _told(rng, draw_diary(rng))
        return lead + answer + after
    if rng.random() < 0.5:
        about = rng.choice(NAMES)
        facts = _facts(rng, about)
        return " ".join(fact for fact, *_ in rng.sample(facts, rng.randrange(2, 6)))
    pairs = [_question(rng) for _ in range(rng.randrange(1, 4))]
    return "\n".join(f"Q: {question} A: {answer}" for question, answer in pairs)


def _conversation(rng: random.Random) -> list[Message]:
    """One to three turns of small talk or facts."""
    talks = [rng.choice(SMALL_TALK)(rng) if rng.random() < 0.6 else _question(rng) for _ in range(rng.randrange(1, 4))]
    return _messages(rng, talks)


def _prediction_talk(rng: random.Random) -> list[Message]:
    """A user tells a diary and asks for the next behavior."""
    diary = draw_diary(rng)
    lead, answer, _ = _told(rng, diary)
    options = ""
    if rng.random() < 0.5:
        names = _options(rng, diary.behavior, rng.randrange(2, len(NAMES) + 1))
        options = f"One of: {rng.choice(_BETWEEN_OPTIONS).join(names)}.\n"
    return _messages(rng, [(options + lead.rstrip(), answer)])


def _messages(rng: random.Random, talks: Sequence[tuple[str, str]]) -> list[Message]:
    system = rng.random() < _SYSTEM_SHARE
    messages = [{"role": "system", "content": rng.choice(_SYSTEMS)}] if system else []
    for question, answer in talks:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return messages


def _told(rng: random.Random, diary: Diary, *, reason_first: bool | None = None) -> tuple[str, str, str]:
    """A diary up to its last behavior, that behavior, and the text after it."""
    form, ask = rng.choice(_LINES), rng.choice(_ASKS)
    day, hour = rng.choice(_DAYS), rng.choice(_HOURS)
    location, city = rng.choice(_LOCATIONS), rng.choice(ZONES).name.lower()
    numbers = {p: rng.randrange(40) for p in AT_LOCATION}
    with_details = rng.random() < 0.4

    def told(template: str, line: Line, b: str, before: Line | None = None) -> str:
        head = "" if "{d}" in template or (before and before.day == line.day) else "== {d} ==\n"
        x = f" ({action(line.detail)})" if line.detail and with_details else ""
        p = location(line.location, numbers[line.location], city)
        at = AT_LOCATION[line.location]
        return (head + template).format(d=day(line.day), h=hour(line.hour), p=p, at=at, b=b, x=x)

    befores = [None, *diary.lines]
    text = "".join(
        told(form, line, line.behavior, before) for before, line in zip(befores, diary.lines[:-1], strict=False)
    )
    if diary.needs_persona or rng.random() < 0.2:
        text = f"Diary of {with_article(diary.persona)}:\n{text}"
    if diary.cue is not None:
        text += f"Now {diary.cue}.\n"
    first = rng.random() < 0.4 if reason_first is None else reason_first
    if first:
        text += f"What to know: {diary.reason.format(b='one thing')}.\n"
    in_form = rng.random() < 0.5 and form.find("{b}") > max(form.find("{h}"), form.find("{d}"))
    template = form if in_form else ask
    lead = told(template[: template.index("{b}")], diary.lines[-1], "", diary.lines[-2])
    after = ""
    if not first and rng.random() < 0.4:
        after = f"\nWhy? Because {diary.reason.format(b=diary.behavior)}."
    return text + lead, diary.behavior, after


def _options(rng: random.Random, right: str, num: int) -> list[str]:
    """`num` names in random order, the right one among them."""
    names = [right, *rng.sample([n for n in NAMES if n != right], num - 1)]
    rng.shuffle(names)
    return names


def _listed(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1]) if len(words) > 1 else words)


def _facts(rng: random.Random, name: str) -> list[tuple[str, str, str]]:
    """Facts about a behavior: statement, question that it answers, answer."""
    hour, location = rng.choice(typical_hours(name)), rng.choice(typical_locations(name))
    event = rng.choice(BEHAVIOR[name].events)
    kind = rng.choice([k for k, names in KINDS.items() if name in names])
    hours = list(dict.fromkeys(part_of_day(h) for h in typical_hours(name)))
    there = AT_LOCATION[location]
    facts = [
        (f"{name} is a kind of {kind}.", f"What kind of thing is {name}?", kind),
        (f"{name} is done in the {_listed(hours)}.", f"When is {name} done?", f"in the {_listed(hours)}"),
        (f"Around {hour}:00 people are often {name}.", f"Is {hour}:00 a usual hour for {name}?", "Yes."),
        (f"A good place for {name}: {there}.", f"Where is a good place for {name}?", there),
        (f"Whoever is {name} may {action(event)}.", f"What is somebody doing who may {action(event)}?", name),
    ]  # fmt: skip
    for trigger in TRIGGERS:
        if trigger.behavior == name:
            clause = trigger_clause(trigger, rng.choice(trigger.after) if trigger.after else None)
            facts += 2 * [(f"{clause}, many go on with {name}.", f"What comes {clause}?", name)]
    for cue in CUES:
        if name in cue.hints:
            words = CUE_WORDS[cue.event]
            facts.append((f"When {words}, {name} is near.", f"What may follow when {words}?", name))
    for persona in PERSONAS:
        factor = persona.likes.get(name, 1.0)
        if factor != 1.0:
            much = "much" if factor > 1 else "little"
            who = with_article(persona.name)
            text = f"{name} is something that {who} does {much}."
            ask = f"How much {name} does {who} do?"
            facts.append((text, ask, much))
    for tail, anchors in AKIN.items():
        for anchor, why in anchors:
            if name in (tail, anchor):
                other = anchor if name == tail else tail
                facts.append((f"{name} is akin to {other}: {why}.", f"What is {name} akin to?", other))
    return facts


def _question(rng: random.Random) -> tuple[str, str]:
    """A question about a behavior drawn uniformly, half of them with options, and its answer."""
    name = rng.choice(NAMES)
    _, question, answer = rng.choice(_facts(rng, name))
    if answer in NAMES and rng.random() < 0.5:
        names = _options(rng, answer, rng.randrange(2, 8))
        question = f"{question} Choose: {', '.join(names)}."
    return question, answer
