"""A log as text: what a small language model reads to know what people do.

Every text is a chat: a question of `prompts.py` about a target of the training part, and the
behavior that came as its answer. A model trained on all of its tokens learns from the lines of the
histories as well. Questions come in random order without end, each round in other words.
"""

from collections.abc import Iterator

import numpy as np

from edgebehave_train.llm.prompts.behavior_names import readable_names
from edgebehave_train.llm.prompts.prompts import PromptConfig, write_prompt
from edgebehave_train.llm.prompts.samples import LLM_SPLIT, log_samples
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import SplitConfig


def log_chats(store: EventStore, seed: int, split: SplitConfig = LLM_SPLIT) -> Iterator[list[dict[str, str]]]:
    """Questions about the users who train, with answers, as messages of a chat template.

    Raises ValueError if the training part holds no sample.
    """
    samples = log_samples(store, "train", split)
    names = readable_names(samples.vocabulary)
    rng = np.random.default_rng(seed)
    round_seed = 0
    while True:
        config = PromptConfig(candidates="none", seed=round_seed)
        for index in rng.permutation(len(samples)).tolist():
            prompt = write_prompt(samples[index], names, config)
            yield [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
                {"role": "assistant", "content": prompt.answer},
            ]
        round_seed += 1
