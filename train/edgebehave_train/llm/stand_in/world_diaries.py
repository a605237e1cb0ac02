"""Small diaries of the simulator's world, each ending in a situation that leads to one behavior.

The last behavior is drawn uniformly, then one of the situations that lead to it. The lines before
follow the same rules: situations, routines, habits of succession, else a behavior that suits the
hour and location. Clocks, locations, triggers and personas are the simulator's; its tastes and
frequencies are not used.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from edgebehave_train.llm.stand_in.world_kinship import AT_LOCATION, CUE_WORDS, NAMES, action
from edgebehave_train.simulator.users import DAY_START_H, clock_table, schedule_table
from edgebehave_train.simulator.world import BEHAVIORS, CUES, LOCATION_KINDS, PERSONAS, TRIGGERS, Trigger

BEHAVIOR = {b.name: b for b in BEHAVIORS}
OWNER = {event: b.name for b in BEHAVIORS for event in b.events}

# How often the next line follows a situation, a routine or a habit of succession, if it can.
_BY_TRIGGER, _BY_ROUTINE, _BY_SUCCESSOR = 0.5, 0.7, 0.6
_STAYS, _SAME_SESSION = 0.75, 0.5
_MOST_LINES, _MOST_LINES_OF_SHORT, _SHORT_SHARE = 24, 9, 0.75


class Line(NamedTuple):
    """One behavior of a diary. day counts from a Monday; `detail` is its event, if it matters."""

    day: int
    hour: int
    location: str
    behavior: str
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class Diary:
    """Lines in the order of time.

    reason   clause with the reason of the last line; {b} stands for its behavior.
    persona  name of the persona that writes the diary.
    needs_persona  whether the persona is the reason.
    cue      clause with the event that the phone noticed just before the last line, if that is the reason.
    """

    lines: Sequence[Line]
    reason: str
    persona: str
    needs_persona: bool = False
    cue: str | None = None

    @property
    def behavior(self) -> str:
        return self.lines[-1].behavior


@cache
def _clock(name: str) -> tuple[float, ...]:
    """Weight of a behavior at each hour 0..23, mean about 1."""
    column = clock_table()[:, NAMES.index(name)]
    return tuple(round(float(column[(h - DAY_START_H) % 24 * 2]), 3) for h in range(24))


def typical_hours(name: str) -> list[int]:
    """Hours 0..23 at which a behavior is done at least 0.6 times as much as at its peak."""
    clock = _clock(name)
    return [h for h in range(24) if clock[h] >= 0.6 * max(clock)]


def typical_locations(name: str) -> list[str]:
    """Locations where a behavior is done more than elsewhere; home if there is none."""
    return [p for p, factor in BEHAVIOR[name].locations.items() if factor > 1.1] or ["home"]


@cache
def _where(persona: int, plan: int, hour: int) -> tuple[float, ...]:
    row = schedule_table()[persona, plan, (hour - DAY_START_H) % 24 * 2]
    return tuple(round(float(x), 3) for x in row)


@cache
def _fitting(hour: int, location: str) -> tuple[float, ...]:
    """Weight of every behavior at an hour and location."""
    return tuple(_clock(b.name)[hour] * b.locations.get(location, 1.0) for b in BEHAVIORS)


def trigger_clause(trigger: Trigger, after: str | None) -> str:
    """The situation in words, with the one event that it came after."""
    parts = []
    if after is not None:
        parts.append(f"after {OWNER[after]} ({action(after)})")
    if trigger.location is not None:
        parts.append(AT_LOCATION[trigger.location])
    if trigger.arrived_from is not None:
        parts.append(f"having been {AT_LOCATION[trigger.arrived_from]} before")
    return ", ".join(parts)


class _Writer:
    """One person, whose lines are drawn one by one."""

    def __init__(self, rng: random.Random, persona: int) -> None:
        self.rng, self.persona = rng, persona
        days_off = PERSONAS[self.persona].days_off
        first = rng.randrange(7)
        self.days_off = days_off or (first, (first + 1) % 7)
        self.late = rng.random() < 0.5
        self.routines = {rng.randrange(7, 24): rng.choice(NAMES) for _ in range(5)}
        self.successors = {rng.choice(NAMES): rng.choice(NAMES) for _ in range(4)}
        self.lines: list[Line] = []

    def moment(self) -> tuple[int, int]:
        """Day and hour of the next line."""
        rng = self.rng
        if not self.lines:
            return rng.randrange(7), rng.randrange(7, 23)
        day, hour = self.lines[-1].day, self.lines[-1].hour
        if rng.random() < _SAME_SESSION:
            hour += rng.random() < 0.15
        else:
            hour += rng.randrange(1, 8)
        if hour >= 24:
            day, hour = day + 1, rng.randrange(6, 12)
        return day, hour

    def location(self, day: int, hour: int) -> str:
        """Location of the person at an hour."""
        if self.lines and hour - self.lines[-1].hour in (0, 1) and self.rng.random() < _STAYS:
            return self.lines[-1].location
        is_off = PERSONAS[self.persona].early is None or day % 7 in self.days_off
        plan = 0 if is_off else 2 if self.late else 1
        return self.rng.choices(LOCATION_KINDS, _where(self.persona, plan, hour))[0]

    def next(self) -> Line:
        """A line that follows the rules of the world."""
        rng = self.rng
        day, hour = self.moment()
        location = self.location(day, hour)
        if self.lines:
            last = self.lines[-1]
            open_to = [t for t in TRIGGERS if self._is_open(t, last, location)]
            if open_to and rng.random() < _BY_TRIGGER:
                return Line(day, hour, location, rng.choice(open_to).behavior)
            if last.behavior in self.successors and rng.random() < _BY_SUCCESSOR:
                return Line(day, hour, location, self.successors[last.behavior])
        if hour in self.routines and rng.random() < _BY_ROUTINE:
            return Line(day, hour, location, self.routines[hour])
        name = rng.choices(NAMES, _fitting(hour, location))[0]
        detail = rng.choice(BEHAVIOR[name].events) if rng.random() < 0.2 else None
        return Line(day, hour, location, name, detail)

    def _is_open(self, trigger: Trigger, last: Line, location: str) -> bool:
        return (
            (not trigger.after or last.detail in trigger.after)
            and trigger.location in (None, location)
            and trigger.arrived_from in (None, last.location)
        )


def draw_diary(rng: random.Random) -> Diary:
    """A diary of 2 to 24 lines, mostly short; its last behavior is drawn uniformly."""
    name = rng.choice(NAMES)
    triggers = [t for t in TRIGGERS if t.behavior == name]
    cues = [c for c in CUES if name in c.hints]
    fans = [i for i, p in enumerate(PERSONAS) if p.likes.get(name, 1.0) > 1.0]
    ways = [*(["trigger"] * 2 if triggers else []), "moment", "routine", "successor"]
    way = rng.choice([*ways, *(["cue"] if cues else []), *(["persona"] if fans else [])])
    persona = rng.choice(fans) if way == "persona" else rng.randrange(len(PERSONAS))

    writer = _Writer(rng, persona)
    most = _MOST_LINES_OF_SHORT if rng.random() < _SHORT_SHARE else _MOST_LINES
    num_lines = rng.randrange(2, most + 1)
    while len(writer.lines) < num_lines - 1:
        writer.lines.append(writer.next())
    who = PERSONAS[persona].name
    if way == "trigger":
        lines, reason = _end_by_trigger(writer, rng.choice(triggers))
    elif way == "routine" and num_lines >= 5:
        lines, reason = _end_by_routine(writer, name)
    elif way == "successor" and num_lines >= 5:
        lines, reason = _end_by_successor(writer, name)
    else:
        lines, reason = _end_by_moment(writer, name)
    if way == "persona":
        reason = f"{{b}} is something that {with_article(who)} does much"
        return Diary(lines=lines, reason=reason, persona=who, needs_persona=True)
    if way == "cue":
        cue = CUE_WORDS[rng.choice(cues).event]
        return Diary(lines=lines, reason=f"when {cue}, {{b}} is near", persona=who, cue=cue)
    return Diary(lines=lines, reason=reason, persona=who)


def with_article(words: str) -> str:
    """A phrase behind "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _end_by_moment(writer: _Writer, name: str) -> tuple[list[Line], str]:
    """The last line is at an hour and location that are usual for it."""
    rng, last = writer.rng, writer.lines[-1]
    hour = rng.choice(typical_hours(name))
    location = rng.choice(typical_locations(name)) if rng.random() < 0.7 else "home"
    ends = Line(last.day + (hour < last.hour), hour, location, name)
    return [*writer.lines, ends], f"{{b}} is usual around {hour}:00 {AT_LOCATION[location]}"


def _end_by_trigger(writer: _Writer, trigger: Trigger) -> tuple[list[Line], str]:
    """The line before the last is changed to fit the situation."""
    rng, before = writer.rng, writer.lines[-1]
    after = rng.choice(trigger.after) if trigger.after else None
    here = trigger.location or before.location
    came_from = trigger.arrived_from or (here if after and trigger.location else before.location)
    if after is not None:
        before = before._replace(behavior=OWNER[after], detail=after)
    before = before._replace(location=came_from)
    hour = before.hour + rng.choice((0, 0, 1))
    if trigger.within_min > 600 and rng.random() < 0.5:
        hour += rng.randrange(2, 12)
    ends = Line(before.day + hour // 24, hour % 24, here, trigger.behavior)
    reason = f"{trigger_clause(trigger, after)}, {{b}} often comes next"
    return [*writer.lines[:-1], before, ends], reason


def _end_by_routine(writer: _Writer, name: str) -> tuple[list[Line], str]:
    """A behavior of earlier days is repeated at its hour."""
    rng, lines = writer.rng, writer.lines
    model = rng.choice(lines[: len(lines) // 2])
    same = (model.hour, model.location)
    lines = [_replaced(n, name) if (n.hour, n.location) == same else n for n in lines]
    ends = Line(lines[-1].day + (model.hour <= lines[-1].hour), *same, name)
    return [*lines, ends], f"{{b}} is what this person does around {model.hour}:00"


def _end_by_successor(writer: _Writer, name: str) -> tuple[list[Line], str]:
    """A behavior follows the same behavior as before."""
    rng, lines = writer.rng, list(writer.lines)
    at = rng.randrange(len(lines) - 2)
    first = lines[at].behavior
    lines[at + 1] = _replaced(lines[at + 1], name)
    last = lines[-1]
    if last.behavior != first:
        lines[-1] = _replaced(last, first)
    ends = Line(last.day, min(23, last.hour + rng.choice((0, 0, 1))), last.location, name)
    return [*lines, ends], f"after {first}, {{b}} came before, too"


def _replaced(line: Line, name: str) -> Line:
    return line._replace(behavior=name, detail=None)
