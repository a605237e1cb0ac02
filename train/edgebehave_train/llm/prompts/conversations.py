"""General conversations, mixed into tuning so that a model keeps its language.

A corpus is JSON Lines, one conversation to a line, in either of two common forms:

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}

Other keys are ignored. `SMALL_CORPUS` lies beside this module: 86 short conversations of our own,
enough for a demo and for tests, and far too few for a model in use.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebehave_train.llm.prompts.encoding import ChatFormat, EncodedSamples, Message, TokenizedSample

SMALL_CORPUS = Path(__file__).with_name("small_conversations.jsonl")

_ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Conversations:
    """The conversations of a file.

    conversations  each as messages: perhaps one of the system, then user and assistant in turns,
                   the last turn the assistant's.
    rejected       (line number from 1, reason) of every line that is no conversation.
    """

    path: Path
    conversations: Sequence[Sequence[Message]]
    rejected: Sequence[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.conversations)


def read_conversations(path: Path | str = SMALL_CORPUS) -> Conversations:
    """Read a corpus; lines that are no conversation are skipped, and one warning names them.

    A turn of the user at the end, which has no answer, is left out. Blank lines are ignored.
    Raises ValueError if the file cannot be read or holds no conversation.
    """
    path = Path(path)
    conversations: list[list[Message]] = []
    rejected: list[tuple[int, str]] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    conversations.append(_conversation(json.loads(line.decode("utf-8-sig"))))
                except json.JSONDecodeError as error:
                    rejected.append((number, f"not JSON: {error.msg}"))
                except UnicodeDecodeError:
                    rejected.append((number, "not UTF-8"))
                except RecursionError:
                    rejected.append((number, "not JSON: nested too deeply"))
                except ValueError as error:
                    rejected.append((number, str(error)))
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a corpus: {error.strerror}") from None
    some = "; ".join(f"line {number}: {reason}" for number, reason in rejected[:3])
    if not conversations:
        raise ValueError(f"{path} holds no conversation" + (f" ({some})" if some else ""))
    if rejected:
        warnings.warn(
            f"{path}: {len(rejected)} of {len(rejected) + len(conversations)} lines are no "
            f"conversations and are skipped ({some}{'; ...' if len(rejected) > 3 else ''})",
            stacklevel=2,
        )
    return Conversations(path=path, conversations=conversations, rejected=rejected)


def encode_conversations(corpus: Conversations, chat: ChatFormat, max_tokens: int | None = None) -> EncodedSamples:
    """A sample for every turn of the assistant, with all turns before it as the prompt.

    max_tokens  longer samples, answer included, are left out and counted.
    Returns     samples whose index is that of their conversation, and so may repeat.
    Raises ValueError if every sample is too long.
    """
    samples, index, num_too_long = [], [], 0
    for i, messages in enumerate(corpus.conversations):
        for turn, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            sample = TokenizedSample(
                prompt_ids=chat.prompt_ids(messages[:turn]), answer_ids=chat.answer_ids(message["content"])
            )
            if max_tokens and len(sample) > max_tokens:
                num_too_long += 1
            else:
                samples.append(sample)
                index.append(i)
    if not samples:
        raise ValueError(
            f"all {num_too_long} turns of {corpus.path} have more than {max_tokens} tokens; "
            "allow more, or take a corpus of shorter conversations"
        )
    return EncodedSamples(samples=samples, index=index, num_too_long=num_too_long)


def _conversation(line: Any) -> list[Message]:
    """The messages of one line. Raises ValueError with the reason if it has none."""
    if not isinstance(line, dict):
        raise ValueError("not a JSON object")
    if "messages" in line:
        turns, role_key, text_key = line["messages"], "role", "content"
    elif "conversations" in line:
        turns, role_key, text_key = line["conversations"], "from", "value"
    else:
        raise ValueError("neither messages nor conversations in it")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("its turns are no list of objects")
    messages: list[Message] = []
    for turn in turns:
        said_by, text = turn.get(role_key), turn.get(text_key)
        role = _ROLES.get(said_by) if isinstance(said_by, str) else None
        if role is None:
            raise ValueError(f"a turn of {said_by!r}, not one of {', '.join(_ROLES)}")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"a turn of {said_by!r} without text")
        try:
            text.encode()
        except UnicodeEncodeError:
            # JSON can escape one alone, as of an emoji that was cut; no tokenizer reads it.
            raise ValueError(f"a turn of {said_by!r} with half of a surrogate pair") from None
        if role == "system" and messages:
            raise ValueError("a message of the system that is not the first")
        if role != "system":
            before = messages[-1]["role"] if messages else "system"
            expected = "assistant" if before == "user" else "user"
            if role != expected:
                raise ValueError(f"a turn of the {role} where the {expected}'s was expected")
        messages.append({"role": role, "content": text})
    if messages and messages[-1]["role"] == "user":
        del messages[-1]
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError("no turn of an assistant")
    return messages
