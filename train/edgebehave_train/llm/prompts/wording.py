"""The wording of prompts that ask a language model for the next behavior of a person.

A prompt has the five parts of BehaviorLM (arXiv 2505.17682): task, role, history, candidates and
answer, in our own wording.

The compact format begins with task, role and candidates. They are the same for all samples of a model, so that a
model reads them once for all questions. The history comes last and is short: a line for each hour, repeated
behaviors as `x2`, the location where it changes.

The other three formats, `lines`, `diary` and `records`, are for tuning on varied wording, so that a tuned model
learns the question and not one phrasing of it. The position of a sample in the log determines which of the three it
gets ("sampled") and the order of its candidates, in training and in testing. Models tuned before the compact format
have these. An event of the history is one line such as `Mon 08 home: reading news`.

Each candidate has a line, because a name after a line break has the same tokens as the answer, which begins a line,
too.
"""

# V behaviors, id 0 included

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, get_args

import numpy as np

from edgebehave_train.llm.prompts.samples import Sample

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Format = Literal["lines", "diary", "records"]
FORMATS: tuple[Format, ...] = get_args(Format)
"""The formats that "sampled" draws from."""
CandidateOrder = Literal["shuffled", "vocabulary", "none"]
Answers = Literal["names", "tokens"]


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """Settings of the wording; kept with a tuned model, whose prompts must stay the same.

    format         "compact": candidates first, the same for all samples; or one of FORMATS for every
                   sample; or "sampled": one of the three for each.
    history        past behaviors shown at most, 1 or more; the paper shows 20, at almost twice the
                   cost of a question in the compact format.
    candidates     list of the behaviors. "shuffled": an order of its own for each sample, in the
                   compact format for each seed.
                   "vocabulary": the most frequent first; a model that is tuned on frequent
                   behaviors only then learns to ignore the end of the list, where the rare ones
                   are. "none": no list; prompts are much shorter, and only a tuned model knows
                   the names.
    answers        "names": the name of a behavior, in as many tokens as it has. "tokens": one new token for each
                   behavior, which has to be tuned; a question is then one pass over the prompt.
    location_of_next  also tell where the next behavior happens, as the paper's prompts do. The
                   location nearly reveals the behavior: only to reproduce the paper.
    seed           of the formats and orders, 0 or more.
    """

    format: Format | Literal["compact", "sampled"] = "compact"
    history: int = 10
    candidates: CandidateOrder = "shuffled"
    answers: Answers = "names"
    location_of_next: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.format not in ("compact", "sampled", *FORMATS):
            raise ValueError(
                f"prompt: format must be compact, sampled or one of {', '.join(FORMATS)}, got {self.format!r}"
            )
        if self.candidates not in get_args(CandidateOrder):
            raise ValueError(
                f"prompt: candidates must be one of {', '.join(get_args(CandidateOrder))}, got {self.candidates!r}"
            )
        if self.answers not in get_args(Answers):
            raise ValueError(f"prompt: answers must be {' or '.join(get_args(Answers))}, got {self.answers!r}")
        if self.history < 1:
            raise ValueError(f"prompt: history must be 1 or more behaviors, got {self.history}")
        if self.seed < 0:
            raise ValueError(f"prompt: seed must be 0 or more, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One question and its answer as text.

    system  role and task.
    user    history, candidates, and the moment that is asked for.
    answer  readable name of the behavior that came.
    """

    system: str
    user: str
    answer: str


def write_prompt(sample: Sample, names: Sequence[str], config: PromptConfig) -> Prompt:
    """The prompt of a sample; the same sample always has the same prompt.

    names  (V,) readable names by behavior id, as `readable_names` returns them.
    A history longer than that of the config loses its oldest part.
    """
    # One stream per sample, drawn in this order: a fixed format leaves the orders as they were.
    is_compact = config.format == "compact"
    generator = np.random.default_rng([config.seed] if is_compact else [config.seed, sample.event])
    drawn = FORMATS[generator.integers(len(FORMATS))]
    listed: Sequence[str] = ()
    if config.candidates == "vocabulary":
        listed = names[1:]
    elif config.candidates == "shuffled":
        listed = [names[1 + i] for i in generator.permutation(len(names) - 1)]
    write = _WRITERS[drawn if config.format == "sampled" else config.format]
    system, user = write(
        [
            (WEEKDAYS[past.weekday], f"{past.hour:02}", _one_line(past.location), names[past.behavior])
            for past in sample.history[-config.history :]
        ],
        "\n".join(listed),
        (WEEKDAYS[sample.weekday], f"{sample.hour:02}"),
        _one_line(sample.location) if config.location_of_next else None,
    )
    return Prompt(system=system, user=user, answer=names[sample.behavior])


def _one_line(location: str | None) -> str | None:
    """A location on one line with single blanks, like readable names, whatever the log holds."""
    return location and " ".join(location.split())


_Past = list[tuple[str, str, str | None, str]]
"""Day, hour, location and behavior of each event of the history."""
_Writer = Callable[[_Past, str, tuple[str, str], str | None], tuple[str, str]]
"""History, candidates, moment and location of the next behavior -> role and question."""


def _joined(*parts: str) -> str:
    """The parts that are not empty, with a blank line between them."""
    return "\n\n".join(part for part in parts if part)


def _lines(past: _Past, candidates: str, moment: tuple[str, str], location: str | None) -> tuple[str, str]:
    lines = [f"{day} {hour}{f' {where}' if where else ''}: {behavior}" for day, hour, where, behavior in past]
    system = "You know the routines of the owner of this phone. From what they did lately, tell what they do next."
    user = _joined(
        "Lately (day hour place: behavior), oldest first:\n" + "\n".join(lines),
        candidates and f"It will be one of these:\n{candidates}",
        f"The time is {moment[0]} {moment[1]}{f', the place {location}' if location else ''}. "
        "Reply with the name of the behavior and nothing else.",
    )
    return system, user


def _diary(past: _Past, candidates: str, moment: tuple[str, str], location: str | None) -> tuple[str, str]:
    lines: list[str] = []
    before = None
    for day, hour, where, behavior in past:
        lines += [f"[{day}]"] if day != before else []
        lines.append(f"{hour}h {behavior}{f' @ {where}' if where else ''}")
        before = day
    system = "Act as an assistant who continues a diary: write the entry that comes next."
    user = _joined(
        "The diary so far:\n" + "\n".join(lines),
        candidates and f"Entries to choose from:\n{candidates}",
        f"Next entry: [{moment[0]}] {moment[1]}h{f' @ {location}' if location else ''}. "
        "Which behavior stands there? Only its name, please.",
    )
    return system, user


def _records(past: _Past, candidates: str, moment: tuple[str, str], location: str | None) -> tuple[str, str]:
    lines = [f"({day}, {hour}, {where or '-'}, {behavior})" for day, hour, where, behavior in past]
    system = "You are an analyst of daily behavior. Your task is to fill the last field of a person's newest record."
    user = _joined(
        candidates and f"Possible behaviors:\n{candidates}",
        "Records (weekday, hour, place, behavior):\n"
        + "\n".join([*lines, f"({moment[0]}, {moment[1]}, {location or '-'}, ?)"]),
        "Give the behavior that replaces the question mark, exactly as it is named.",
    )
    return system, user


def _compact(past: _Past, candidates: str, moment: tuple[str, str], location: str | None) -> tuple[str, str]:
    lines: list[str] = []
    where = None
    for day, of_day in groupby(past, key=lambda event: event[0]):
        lines.append(day)
        for hour, of_hour in groupby(of_day, key=lambda event: event[1]):
            entries = []
            for (there, behavior), run in groupby(of_hour, key=lambda event: event[2:]):
                moved = f"@{there} " if there and there != where else ""
                times = len(list(run))
                entries.append(f"{moved}{behavior}{f' x{times}' if times > 1 else ''}")
                where = there or where
            lines.append(f"{int(hour)} {', '.join(entries)}")
    lines.append(f"{moment[0]} {int(moment[1])}{f' @{location}' if location else ''} ?")
    system = (
        "You know the routines of the owner of this phone. Their diary tells day, hour, @place where it changes, and "
        "behaviors. Tell the behavior that stands at the question mark."
    )
    user = _joined(
        candidates and f"Reply with one of these names and nothing else:\n{candidates}",
        "The diary, oldest first:\n" + "\n".join(lines),
    )
    return system, user


_WRITERS: dict[str, _Writer] = {"compact": _compact, "lines": _lines, "diary": _diary, "records": _records}
