"""What a language model reads and is asked to write, in token ids."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TokenizedSample:
    """One prompt with its answer.

    prompt_ids  everything up to the first token of the answer, special tokens included.
    answer_ids  the answer and the token that ends the turn: what the loss is taken on.
    Raises ValueError if either is empty.
    """

    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]

    def __post_init__(self) -> None:
        if not self.prompt_ids or not self.answer_ids:
            raise ValueError("a sample needs a prompt and an answer of at least one token each")
