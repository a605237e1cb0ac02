"""Time that a language model takes to score every candidate answer, in three ways.

    python research/measure_candidate_scoring.py

Times one prediction (35 candidates after a prompt of 300 tokens) of a Llama with random weights,
which take as long as trained ones, on one thread:

    plain       prompt + candidate for each candidate, all rows in one batch: brute force
    rows        the prompt once, its cache copied to a row for each candidate
    tree        what `score_candidates` does: the prompt once, candidates as a tree on its cache

The three take turns; medians, 99th percentiles, and by how much their scores differ.
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch

from edgebehave_train.llm.scoring.candidates import candidate_logprobs

END = 2


def build_model(width: int, layers: int, vocabulary: int):
    """A Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 32),
        num_key_value_heads=max(1, width // 64),
        max_position_embeddings=4096,
    )
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def plain(model, prompt: list[int], candidates: list[list[int]]) -> np.ndarray:
    """Brute force in one batch, (C,) log-probabilities."""
    longest = max(map(len, candidates))
    rows = [[*prompt, *ids[:-1], *[0] * (longest - len(ids))] for ids in candidates]
    logits = model(torch.tensor(rows), use_cache=False, logits_to_keep=longest).logits
    return _summed(logits, candidates)


@torch.no_grad()
def cached_rows(model, prompt: list[int], candidates: list[list[int]]) -> np.ndarray:
    """The prompt's cache, copied to each candidate, (C,) log-probabilities."""
    from transformers import DynamicCache

    cache = DynamicCache()
    model(torch.tensor([prompt[:-1]]), past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_repeat_interleave(len(candidates))
    longest = max(map(len, candidates))
    rows = [[prompt[-1], *ids[:-1], *[0] * (longest - len(ids))] for ids in candidates]
    logits = model(torch.tensor(rows), past_key_values=cache, use_cache=True).logits
    return _summed(logits, candidates)


def _summed(logits: torch.Tensor, candidates: list[list[int]]) -> np.ndarray:
    logprobs = logits.log_softmax(-1)
    return np.array([float(row[range(len(ids)), ids].sum()) for row, ids in zip(logprobs, candidates, strict=True)])


def tree(model, prompt: list[int], candidates: list[list[int]]) -> np.ndarray:
    """`score_candidates` of the package, (C,) log-probabilities."""
    return candidate_logprobs(model, [prompt], candidates)[0, 1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--prompt-tokens", type=int, default=300)
    parser.add_argument("--candidates", type=int, default=35)
    parser.add_argument("--calls", type=int, default=20)
    asked = parser.parse_args()

    torch.set_num_threads(1)
    model = build_model(asked.width, asked.layers, asked.vocabulary)
    rng = np.random.default_rng(0)
    prompt = rng.integers(3, asked.vocabulary, asked.prompt_tokens).tolist()
    # Two to five tokens with the end, as names of behaviors have; beginnings are shared by chance.
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < asked.candidates:
        name = rng.integers(3, 3 + 3 * asked.candidates, rng.integers(1, 5))
        drawn[(*name.tolist(), END)] = None
    candidates = [list(ids) for ids in drawn]

    contenders = {"plain": plain, "rows": cached_rows, "tree": tree}
    scores = {name: score(model, prompt, candidates) for name, score in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(asked.calls):
        for name, score in contenders.items():
            started = time.perf_counter()
            score(model, prompt, candidates)
            seconds[name].append(time.perf_counter() - started)

    size = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{size / 1e6:.1f} M parameters, {len(prompt)} prompt tokens, {len(candidates)} candidates "
        f"of {sum(map(len, candidates))} tokens, {asked.calls} calls each, one thread"
    )
    slowest = statistics.median(seconds["plain"])
    for name, times in seconds.items():
        median, p99 = statistics.median(times), float(np.percentile(times, 99))
        gap = float(np.abs(scores[name] - scores["plain"]).max())
        print(
            f"{name:<6}{1e3 * median:>9.1f} ms median{1e3 * p99:>9.1f} ms p99"
            f"{slowest / median:>7.1f}x plain   differs by {gap:.1e} nats"
        )
    print(f"{platform.machine()}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
