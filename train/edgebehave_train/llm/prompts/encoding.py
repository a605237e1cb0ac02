"""Prompts in the token ids of a model: by its tokenizer's chat template, or plainly where it has none.

The plain form, for base models, is

    <bos>{system}

    User:
    {text}

    Assistant:
    {answer}<eos>

with `<bos>` where the tokenizer begins texts with one, and blank lines between turns. A prompt ends
before the answer. The answer is tokenized by itself, with the token that ends a turn behind it, so
that its ids are the same after every prompt.
"""

import re
import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgebehave_train.llm.prompts.samples import Sample
from edgebehave_train.llm.prompts.wording import Prompt, PromptConfig, write_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
"""{"role": "system", "user" or "assistant", "content": text}"""

_MARK = "answertext"
# Some templates write today's date into the system message unless another is given: prompts must
# not change from day to day. Some begin an answer with thoughts unless told not to.
_TEMPLATE_OPTIONS: dict[str, Any] = {"date_string": "01 Jan 2025", "enable_thinking": False}


@dataclass(frozen=True, kw_only=True)
class TokenizedSample:
    """One prompt with its answer in token ids.

    prompt_ids  everything up to the first token of the answer, special tokens included.
    answer_ids  the answer and the token that ends the turn, or the token of a behavior; the loss is taken on these.
    Raises ValueError if either is empty.
    """

    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.answer_ids:
            raise ValueError("a sample needs a prompt and an answer of at least one token each")

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, kw_only=True)
class EncodedSamples:
    """The samples that a limit of their length left.

    index         of each in the samples that came in, ascending.
    num_too_long  number of those left out.
    """

    samples: Sequence[TokenizedSample]
    index: Sequence[int]
    num_too_long: int


class ChatFormat:
    """The way in which one tokenizer writes chats.

    tokenizer    any of Hugging Face's.
    end_id       the token that ends a turn of the assistant.
    has_template  the tokenizer brings a chat template; without one a warning is given, once.
    Raises ValueError if a template cannot write a question and its answer, and if no token is
    known that ends a turn.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self.has_template = bool(getattr(tokenizer, "chat_template", None))
        special = [str(token) for token in tokenizer.all_special_tokens]
        special += [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        longest_first = sorted(set(special), key=lambda token: (-len(token), token))
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        if not self.has_template:
            warnings.warn(
                f"the tokenizer {tokenizer.name_or_path!r} has no chat template; prompts are "
                "written plainly (User: / Assistant:)",
                stacklevel=2,
            )
        self._writes_system = self._has_system()
        self.end_id = self._find_end_id()

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a chat up to the first token of the assistant's next turn.

        messages  may start with one of the system; then user and assistant take turns. Where the
                  template has no system message, its text begins the first turn of the user.
        Special tokens of the model are removed from the texts: a location that is called
        `<|im_end|>` must not end a turn.
        """
        cleaned = [
            {"role": message["role"], "content": self._without_special(message["content"])} for message in messages
        ]
        if cleaned and cleaned[0]["role"] == "system" and not self._writes_system:
            system, first, *others = cleaned
            merged = f"{system['content']}\n\n{first['content']}"
            cleaned = [{"role": first["role"], "content": merged}, *others]
        if self.has_template:
            text = self._render(cleaned, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = list(self.tokenizer(_plain(cleaned))["input_ids"])
        # Some tokenizers end every text with <eos>; this text goes on.
        return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer and of the end of the turn."""
        ids = self.tokenizer(self._without_special(text), add_special_tokens=False)["input_ids"]
        return [*ids, self.end_id]

    def _without_special(self, text: str) -> str:
        """A text without special tokens, including those that a removal creates."""
        num_left = 1
        while num_left:
            text, num_left = self._special.subn("", text)
        return text

    def _render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                **_TEMPLATE_OPTIONS,
            )
        )

    def _has_system(self) -> bool:
        """True if the template writes a system message."""
        if not self.has_template:
            return True
        messages = [{"role": "system", "content": _MARK}, {"role": "user", "content": "hello"}]
        try:
            return _MARK in self._render(messages, add_generation_prompt=True)
        except Exception:  # templates raise errors of their own for unknown roles
            return False

    def _find_end_id(self) -> int:
        """The first special token behind an answer in the template, else the end of a text."""
        if self.has_template:
            question = {"role": "user", "content": "hello"}
            try:
                text = self._render([question, {"role": "assistant", "content": _MARK}], add_generation_prompt=False)
            except Exception as error:  # of jinja2, or of the template itself
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ValueError(
                    f"the chat template of {self.tokenizer.name_or_path!r} cannot write a question "
                    f"and its answer: {reason}"
                ) from error
            after_answer = self._special.search(text, text.rindex(_MARK)) if _MARK in text else None
            if after_answer:
                return int(self.tokenizer.convert_tokens_to_ids(after_answer.group()))
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                f"the tokenizer {self.tokenizer.name_or_path!r} has no token that ends a turn: "
                "neither an eos_token nor one in its chat template; set its eos_token"
            )
        return int(self.tokenizer.eos_token_id)


def _plain(messages: Sequence[Message]) -> str:
    turns = [
        message["content"] if message["role"] == "system" else f"{message['role'].capitalize()}:\n{message['content']}"
        for message in messages
    ]
    return "\n\n".join([*turns, "Assistant:\n"])


def answer_ids(names: Sequence[str], chat: ChatFormat) -> list[list[int]]:
    """The answer of each behavior in token ids, the end of the turn included: entry c is behavior c + 1.

    names  (V,) readable names by behavior id; the first, which stands for unknown, is left out.
    Raises ValueError for a name of which the tokenizer leaves nothing, and for two behaviors that
    it writes alike.
    """
    answers: list[list[int]] = []
    written: dict[tuple[int, ...], str] = {}
    for name in names[1:]:
        ids = chat.answer_ids(name)
        if len(ids) == 1:
            raise ValueError(f"the tokenizer leaves nothing of behavior {name!r}; give it another readable name")
        other = written.setdefault(tuple(ids), name)
        if other != name:
            raise ValueError(
                f"the tokenizer writes behaviors {other!r} and {name!r} with the same tokens; "
                "give one of them another readable name"
            )
        answers.append(ids)
    return answers


def without_needless_ends(answers: Sequence[Sequence[int]]) -> list[list[int]]:
    """The answers without the token that ends a turn, but where a name begins another name.

    After a whole name that begins no other nothing else can follow, so its end says nothing about which behavior
    comes. It would cost one more token for each behavior.
    """
    names = {tuple(answer[:-1]) for answer in answers}
    begins_another = {name[:n] for name in names for n in range(1, len(name))} & names
    return [list(answer) if tuple(answer[:-1]) in begins_another else list(answer[:-1]) for answer in answers]


class PromptEncoder:
    """Samples in the token ids of one model.

    chat         of its tokenizer.
    names        (V,) readable names by behavior id.
    config       how samples are put into words.
    max_context  tokens that the model can read, prompt and answer together: of a Hugging Face
                 model `config.max_position_embeddings`, or less to save memory.
    behavior_tokens  of behaviors 1, 2, ..., where the config says that these are the answers.
    answers      for tuning: `answer_ids` of the names, or the one token of each behavior; raises the errors
                 of that function.
    candidates   the tokens whose probability is that of a behavior: the answers, in the compact
                 format `without_needless_ends`.
    """

    def __init__(
        self,
        chat: ChatFormat,
        names: Sequence[str],
        config: PromptConfig,
        max_context: int,
        behavior_tokens: Sequence[int] = (),
    ) -> None:
        self.chat = chat
        self.names = names
        self.config = config
        self.max_context = max_context
        self.answers = answer_ids(names, chat)
        if config.answers == "tokens":
            assert len(behavior_tokens) == len(self.answers)
            self.answers = [[token] for token in behavior_tokens]
            self.candidates = self.answers
        else:
            self.candidates = without_needless_ends(self.answers) if config.format == "compact" else self.answers

    def encode(self, sample: Sample) -> TokenizedSample:
        """Prompt and answer of a sample.

        A prompt that leaves no room for the longest candidate loses the oldest part of its
        history, as little as possible. Raises ValueError if a history of one behavior is still too long.
        """
        room = self.max_context - max(map(len, self.answers))
        prompt_ids = self._prompt_ids(sample)
        if len(prompt_ids) > room:
            shown = sample.history[-self.config.history :]

            def with_last(num_events: int) -> list[int]:
                return self._prompt_ids(replace(sample, history=shown[-num_events:]))

            # Prompts grow with their history: the first count that is too long, less one.
            counts = range(1, len(shown) + 1)
            num_fitting = bisect_left(counts, True, key=lambda n: len(with_last(n)) > room)
            if not num_fitting:
                raise ValueError(
                    f"a prompt with one past behavior has {len(with_last(1))} tokens, but the "
                    f"model reads {self.max_context} and the longest answer needs "
                    f"{self.max_context - room}; list no candidates, shorten their names, or "
                    "take a model with a longer context"
                )
            prompt_ids = with_last(num_fitting)
        return TokenizedSample(prompt_ids=prompt_ids, answer_ids=self.answers[sample.behavior - 1])

    def encode_all(self, samples: Sequence[Sample], max_tokens: int | None = None) -> EncodedSamples:
        """Samples for training, without those of more than `max_tokens`, answer included."""
        kept, index = [], []
        for i, sample in enumerate(samples):
            encoded = self.encode(sample)
            if max_tokens is None or len(encoded) <= max_tokens:
                kept.append(encoded)
                index.append(i)
        if len(samples) and not kept:
            raise ValueError(f"all {len(samples)} samples have more than {max_tokens} tokens; allow more")
        return EncodedSamples(samples=kept, index=index, num_too_long=len(samples) - len(kept))

    def _prompt_ids(self, sample: Sample) -> list[int]:
        return self.chat.prompt_ids(messages_of(write_prompt(sample, self.names, self.config)))


def messages_of(prompt: Prompt) -> list[Message]:
    """A prompt as a chat that waits for its answer."""
    return [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
