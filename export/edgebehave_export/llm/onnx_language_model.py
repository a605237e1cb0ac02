"""Candidate scores of a language model in ONNX Runtime, with numpy and onnxruntime alone.

The prompt runs once; its last token gives the first token of every candidate. The other tokens run as rows over
copies of the prompt's cache: the graphs of optimum take no mask from outside, which the tree of
`edgebehave_train.llm.scoring.candidates` needs. Rows of one length run together, so that there is no padding.

Prompts that begin with the same tokens, as those of one tuned model do, read these from a file of their keys and values
(`write_prefix`), which is made once.
"""

# L tokens of a prompt, P of the prefix, R rows, T tokens of a row, W vocabulary, C candidates, V = C + 1 behaviors

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave.bundles.inference import load_onnxruntime

FloatArray = npt.NDArray[np.float32]
TokenLists = Sequence[Sequence[int]]

_TOKENS = "tokens"  # of a prefix; the other arrays of the file have the names of the graph's inputs
_MAX_BYTES = 1 << 27  # of the caches, and of the logits, of the rows that run at once


class OnnxLanguageModel:
    """A decoder with a cache, as `export_language_model` writes it.

    graph   file of the graph; weights may lie in a file beside it.
    prefix  file of `write_prefix`; prompts that begin otherwise are read whole.
    Raises ValueError if the graph has no cache, and for a prefix that is damaged or of another model.
    """

    def __init__(self, graph: Path, prefix: Path | None = None) -> None:
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
        self._shared: tuple[int, ...] = ()
        self._shared_cache = self._empty
        if prefix is not None:
            self._read_prefix(prefix)

    def write_prefix(self, tokens: Sequence[int], file: Path) -> None:
        """Read tokens with which prompts begin, keep their keys and values, and write these into a file.

        file  name.npz, float32: any precision of the graph can go on from it.
        """
        _, cache = self._run(np.array([tokens], np.int64), self._empty)
        self._shared, self._shared_cache = tuple(tokens), cache
        np.savez(file, **{_TOKENS: np.array(tokens, np.int64), **cache})  # type: ignore[arg-type]  # names are strings

    def num_known(self, prompt: Sequence[int]) -> int:
        """Tokens of a prompt that the prefix holds: all of the prefix, or 0 where the prompt begins otherwise."""
        shared = len(self._shared)
        return shared if len(prompt) > shared and tuple(prompt[:shared]) == self._shared else 0

    def _read_prefix(self, file: Path) -> None:
        try:
            with np.load(file, allow_pickle=False) as content:
                tokens = tuple(content[_TOKENS].tolist())
                cache = {name: content[name] for name in self._empty}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file} is no prefix of this model ({error}); export the model again") from None
        for name, values in cache.items():
            _, heads, _, width = self._empty[name].shape
            if values.dtype != np.float32 or values.shape != (1, heads, len(tokens), width):
                raise ValueError(
                    f"{file} is no prefix of this model: {name} is {values.dtype} of shape {values.shape}, expected "
                    f"float32 of {(1, heads, len(tokens), width)}; export the model again"
                )
        self._shared, self._shared_cache = tokens, cache

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
        known = self.num_known(prompt)
        logits, cache = self._run(np.array([prompt[known:]], np.int64), self._shared_cache if known else self._empty)
        last_1W = logits[0, -1:]
        scores = last_1W[0, [tokens[0] for tokens in candidate_ids]].astype(np.float64) - _log_sum_exp(last_1W)
        rows = longest_beginnings(candidate_ids)
        steps = [_steps(tokens, rows) for tokens in candidate_ids]
        for chunk in self._chunks(rows, len(prompt), logits.shape[-1]):
            copies = {name: np.repeat(values, len(chunk), 0) for name, values in cache.items()}
            logits_RTW = self._logits(np.array([rows[row] for row in chunk], np.int64), copies)
            total_RT = np.stack([_log_sum_exp(logits_TW) for logits_TW in logits_RTW])  # row by row: W is large
            for c, (row, tokens) in enumerate(steps):
                if row in chunk:
                    r, at = chunk.index(row), range(len(tokens))
                    scores[c] += (logits_RTW[r, at, tokens].astype(np.float64) - total_RT[r, at]).sum()
        return scores

    def _chunks(self, rows: Sequence[tuple[int, ...]], prompt_tokens: int, num_words: int) -> Iterator[list[int]]:
        """Numbers of rows of one length that run at once, as many as fit into memory."""
        for width in sorted(set(map(len, rows))):
            of_width = [number for number, row in enumerate(rows) if len(row) == width]
            bytes_per_row = 4 * max(self._cache_floats * prompt_tokens, width * num_words)
            at_once = max(1, _MAX_BYTES // bytes_per_row)
            for first in range(0, len(of_width), at_once):
                yield of_width[first : first + at_once]

    def _run(
        self, ids_RT: npt.NDArray[np.int64], cache: dict[str, FloatArray]
    ) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Logits (R, T, W) of tokens after a cache, and the cache with them."""
        out = self._session.run(None, self._feeds(ids_RT, cache))
        named = dict(zip(self._outputs, out, strict=True))
        grown = {name: named[name.replace("past_key_values", "present")] for name in cache}
        return named["logits"], grown

    def _logits(self, ids_RT: npt.NDArray[np.int64], cache: dict[str, FloatArray]) -> FloatArray:
        """The same without the cache, which is most of what a run would hand back."""
        logits: FloatArray = self._session.run(["logits"], self._feeds(ids_RT, cache))[0]
        return logits

    def _feeds(self, ids_RT: npt.NDArray[np.int64], cache: dict[str, FloatArray]) -> dict[str, npt.NDArray[Any]]:
        rows, width = ids_RT.shape
        past = next(iter(cache.values())).shape[2]
        feeds: dict[str, npt.NDArray[Any]] = {
            "input_ids": ids_RT,
            "attention_mask": np.ones((rows, past + width), np.int64),
            "position_ids": np.tile(np.arange(past, past + width), (rows, 1)),
            **cache,
        }
        return {name: feeds[name] for name in self._inputs}


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

    The prompt gives the first token; a candidate of one token has no more, and row -1.
    """
    begins = tuple(tokens[:-1])
    if not begins:
        return -1, []
    row = next(n for n, row in enumerate(rows) if row[: len(begins)] == begins)
    return row, list(tokens[1:])


def _log_sum_exp(logits_TW: FloatArray) -> npt.NDArray[np.float64]:
    """(T,) log sum exp of the logits of each token."""
    largest_T1 = logits_TW.max(axis=-1, keepdims=True)
    sums_T = np.exp(logits_TW - largest_T1).sum(axis=-1, dtype=np.float64)
    total_T: npt.NDArray[np.float64] = largest_T1[:, 0] + np.log(sums_T)
    return total_T
