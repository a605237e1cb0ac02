"""Candidate scores of a language model in ONNX Runtime, with numpy and onnxruntime alone.

The prompt runs once; its last token gives the first token of every candidate. The other tokens run as rows over
copies of the prompt's cache: the graphs of optimum take no mask from outside, which the tree of
`edgebehave_train.llm.scoring.candidates` needs.
"""

# L tokens of a prompt, R rows, T tokens of a row, W vocabulary, C candidates, V = C + 1 behaviors

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.inference import load_onnxruntime

FloatArray = npt.NDArray[np.float32]
TokenLists = Sequence[Sequence[int]]

_MAX_BYTES = 1 << 28  # of the caches, and of the logits, of the rows that run at once


class OnnxLanguageModel:
    """A decoder with a cache, as `export_language_model` writes it.

    graph  file of the graph; weights may lie in a file beside it.
    Raises ValueError if the graph has no cache.
    """

    def __init__(self, graph: Path) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._inputs = [given.name for given in self._session.get_inputs()]
        self._outputs = [made.name for made in self._session.get_outputs()]
        caches = [given for given in self._session.get_inputs() if given.name.startswith("past_key")]
        if not caches:
            raise ValueError(f"{graph} has no key/value cache; export it as text-generation-with-past")
        self._empty: dict[str, FloatArray] = {
            cache.name: np.zeros((1, cache.shape[1], 0, cache.shape[3]), np.float32) for cache in caches
        }
        self._cache_floats = sum(cache.shape[1] * cache.shape[3] for cache in self._empty.values())

    def score_candidates(
        self,
        prompts: TokenLists,
        candidate_ids: TokenLists,
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> FloatArray:
        """Probabilities of the behaviors after each prompt, (N, V) float32; column 0 is 0.

        The same as `score_candidates` of torch, and the same arguments. A prompt's scores do not
        depend on the prompts beside it, in int8 either.
        """
        logprobs = self.candidate_logprobs(prompts, candidate_ids, on_progress=on_progress)
        if not len(logprobs):
            return logprobs
        probs = np.exp(logprobs.astype(np.float64) - logprobs.max(axis=1, keepdims=True))
        return (probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)

    def candidate_logprobs(
        self,
        prompts: TokenLists,
        candidate_ids: TokenLists,
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> FloatArray:
        """log p(answer | prompt) of each candidate, (N, V) float32 in nats; column 0 is -inf.

        Raises ValueError for an empty prompt or candidate.
        """
        if not len(candidate_ids) or not all(len(tokens) for tokens in candidate_ids):
            raise ValueError("every behavior needs an answer of at least one token")
        logprobs = np.full((len(prompts), len(candidate_ids) + 1), -np.inf, np.float32)
        for i, prompt in enumerate(prompts):
            if not len(prompt):
                raise ValueError(f"prompt {i} is empty")
            logprobs[i, 1:] = self._after(prompt, candidate_ids)
            on_progress(i + 1, len(prompts))
        return logprobs

    def _after(self, prompt: Sequence[int], candidate_ids: TokenLists) -> npt.NDArray[np.float64]:
        """(C,) log-probabilities after one prompt."""
        logits, cache = self._run(np.array([prompt], np.int64), self._empty)
        first_W = _log_softmax(logits[0, -1])
        scores = np.array([first_W[tokens[0]] for tokens in candidate_ids], np.float64)
        rows = longest_beginnings(candidate_ids)
        if not rows:
            return scores
        width = max(map(len, rows))
        bytes_per_row = 4 * max(self._cache_floats * len(prompt), width * logits.shape[-1])
        at_once = max(1, _MAX_BYTES // bytes_per_row)
        steps = [_steps(tokens, rows) for tokens in candidate_ids]
        for first in range(0, len(rows), at_once):
            chunk = rows[first : first + at_once]
            padded = np.array([[*row, *[0] * (width - len(row))] for row in chunk], np.int64)
            copies = {name: np.repeat(values, len(chunk), 0) for name, values in cache.items()}
            logprobs_RTW = _log_softmax(self._run(padded, copies)[0])
            for c, (row, tokens) in enumerate(steps):
                if first <= row < first + len(chunk):
                    scores[c] += logprobs_RTW[row - first, range(len(tokens)), tokens].sum()
        return scores

    def _run(
        self, ids_RT: npt.NDArray[np.int64], cache: dict[str, FloatArray]
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Logits (R, T, W) of tokens after a cache, and the cache with them.

        Rows may end in padding: no token looks ahead.
        """
        rows, width = ids_RT.shape
        past = next(iter(cache.values())).shape[2]
        feeds: dict[str, npt.NDArray[Any]] = {
            "input_ids": ids_RT,
            "attention_mask": np.ones((rows, past + width), np.int64),
            "position_ids": np.tile(np.arange(past, past + width), (rows, 1)),
            **cache,
        }
        out = self._session.run(None, {name: feeds[name] for name in self._inputs})
        named = dict(zip(self._outputs, out, strict=True))
        grown = {name: named[name.replace("past_key_values", "present")] for name in cache}
        return named["logits"], grown


def longest_beginnings(candidate_ids: TokenLists) -> list[tuple[int, ...]]:
    """Candidates without their last tokens, and without beginnings of longer ones."""
    read = sorted({tuple(tokens[:-1]) for tokens in candidate_ids if len(tokens) > 1})
    return [
        row
        for n, row in enumerate(read)  # sorted: rows that begin with a row come right after it
        if n + 1 == len(read) or read[n + 1][: len(row)] != row
    ]


def _steps(tokens: Sequence[int], rows: list[tuple[int, ...]]) -> tuple[int, list[int]]:
    """The row that holds a candidate, and the tokens whose probability each of its positions gives.

    The prompt gives the first token; a candidate of one token has no more.
    """
    begins = tuple(tokens[:-1])
    row = next(n for n, row in enumerate(rows) if row[: len(begins)] == begins)
    return row, list(tokens[1:])


def _log_softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logprobs: npt.NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logprobs
