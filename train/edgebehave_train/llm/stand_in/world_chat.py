"""Small talk without behaviors: calendars, clocks, words, sums."""

# ruff: noqa: SIM905  one row per line, and words as they are read

import random
from collections.abc import Callable

Talk = tuple[str, str]
"""Text of the user and answer of the assistant."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_COLORS = ("red", "green", "blue", "yellow", "white", "black", "brown", "gray")
_ANIMALS = ("cat", "dog", "horse", "bird", "fish", "bear", "mouse", "sheep")
_FRUITS = ("apple", "pear", "plum", "cherry", "lemon", "grape", "peach", "melon")
COMMON_WORDS = tuple(
    """
a about above activity after again against ago all almost alone along already also always among an
and another answer any anything app apps are area around as ask asked at available away back based
be because become been before begin behavior behaviors being below best better between both bring
but by call called can candidate candidates carefully case change choice choose chosen city clear
clock close come common complete consider context could course current daily data date day days
decide describe device diary did different do does doing done down during each earlier either else
end enough entry even event events ever every exactly example expect fact far few find first
follow following for form format found friend from full future general get give given go goes
going good great group guess habit habits had half happen happened happens has have he help her
here him his history home hour hours how i idea if important in information instruction into is it
item items its job just keep kind know known language large last late later latest learn least
left less let life like likely line lines list listed little local location log long look made
make many may me mean might minute minutes mobile moment month more most much must my name named
names near need never new next no none not nothing now number of off often old on once one only
open option options or order other others our out output over own part past pattern patterns
people perform performs person phone place places please possible predict predicted prediction
previous probable problem question read recent record recorded records reply respond response rest
result right role routine said same say schedule see sequence set several she should show shown
simple since situation small so some somebody someone something soon start state step still such
take takes task tell text than that the their them then there these they thing things think this
those time times to today together told tomorrow too two type under until up upon us use used user
users usual usually very was way we week weekday weekend well went were what when where whether
which while who whole whose why will with within without word words work would write written year
yes yesterday yet you your
""".split()
)
_OPPOSITES = (
    ("big", "small"),
    ("hot", "cold"),
    ("early", "late"),
    ("fast", "slow"),
    ("new", "old"),
    ("near", "far"),
    ("open", "closed"),
    ("long", "short"),
)
_GREETINGS = (
    ("Hello!", "Hello! What can I do for you?"),
    ("Good morning.", "Good morning! How can I help?"),
    ("Thank you.", "You are welcome."),
    ("Who are you?", "I am a small language model that answers short questions."),
    ("Are you there?", "Yes, I am here."),
    ("Good night.", "Good night, sleep well."),
)


def part_of_day(hour: int) -> str:
    """Word for an hour 0..23."""
    bounds = ((5, "night"), (11, "morning"), (14, "midday"), (18, "afternoon"), (22, "evening"))
    return next((word for before, word in bounds if hour < before), "night")


def _weekday(rng: random.Random) -> Talk:
    day = rng.randrange(7)
    return rng.choice(
        (
            (f"Which day comes after {WEEKDAYS[day]}?", WEEKDAYS[(day + 1) % 7]),
            (f"Which day comes before {WEEKDAYS[day]}?", WEEKDAYS[day - 1]),
            (f"Is {WEEKDAYS[day]} on the weekend?", "Yes." if day >= 5 else "No."),
        )
    )


def _hour(rng: random.Random) -> Talk:
    hour, later = rng.randrange(24), rng.randrange(1, 6)
    return rng.choice(
        (
            (f"What part of the day is {hour:02d}:00?", part_of_day(hour)),
            (f"It is {hour:02d}:00. What time is it {later} hours later?", f"{(hour + later) % 24:02d}:00"),
            (f"How do you write {hour:02d}:00 with am or pm?", f"{hour % 12 or 12} {'am' if hour < 12 else 'pm'}"),
        )
    )  # fmt: skip


def _sum(rng: random.Random) -> Talk:
    a, b = rng.randrange(20), rng.randrange(20)
    return f"What is {a} plus {b}?", f"{a + b}"


def _word(rng: random.Random) -> Talk:
    pool = (*_COLORS, *_ANIMALS, *_FRUITS) if rng.random() < 0.3 else COMMON_WORDS
    words = [w.capitalize() if rng.random() < 0.15 else w for w in rng.sample(pool, 4)]
    one, other = rng.choice(_OPPOSITES)
    shown = ", ".join(words)
    return rng.choice(
        (
            (f"What is the opposite of {one}?", other),
            (f"Say these words again: {shown}", shown),
            (f"Which word comes first: {shown}?", words[0]),
            (f"Which word comes last: {shown}?", words[-1]),
            (f"Put these words in the order of the alphabet: {shown}", ", ".join(sorted(words, key=str.lower))),
            (f"Is {words[0]} among these words: {', '.join(words[1:])}?", "No."),
        )
    )


def _kind(rng: random.Random) -> Talk:
    kind, words = rng.choice((("a color", _COLORS), ("an animal", _ANIMALS), ("a fruit", _FRUITS)))
    mixed = [rng.choice(words)]
    mixed += [rng.choice(w) for w in (_COLORS, _ANIMALS, _FRUITS) if w is not words]
    right = mixed[0]
    rng.shuffle(mixed)
    return f"Which of these is {kind}: {', '.join(mixed)}?", right


def _greeting(rng: random.Random) -> Talk:
    return rng.choice(_GREETINGS)


SMALL_TALK: tuple[Callable[[random.Random], Talk], ...] = (_weekday, _hour, _sum, _word, _kind, _greeting)
