"""A small language model trained from scratch on the log of an event store: a weak teacher for tables.

    python research/pretrain_on_log.py STORE -o LM --steps 6000

It reads questions about the users who train, in the prompts that models are tuned with, and the behavior
that came as their answer; a model trained on all tokens learns from the histories as well. The questions
come in random order without end, each round in other words. It reads nothing of the simulator's world.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgebehave_train.llm.prompts.behavior_names import readable_names
from edgebehave_train.llm.prompts.encoding import Message, messages_of
from edgebehave_train.llm.prompts.samples import LLM_SPLIT, log_samples
from edgebehave_train.llm.prompts.wording import PromptConfig, write_prompt
from edgebehave_train.llm.stand_in.small_lm import small_lm_config, train_small_lm
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.split import SplitConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--preset", default="micro")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = small_lm_config(args.preset, steps=args.steps, seed=args.seed)
    record = train_small_lm(args.out, config, read=log_chats(EventStore.open(args.store), args.seed))
    print(f"{record['num_parameters']:,} parameters, {record['num_tokens']:,} tokens, loss {record['loss'][-1]:.3f}")


def log_chats(store: EventStore, seed: int, split: SplitConfig = LLM_SPLIT) -> Iterator[list[Message]]:
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
            yield [*messages_of(prompt), {"role": "assistant", "content": prompt.answer}]
        round_seed += 1


if __name__ == "__main__":
    main()
