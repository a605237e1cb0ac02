"""Candidates as a tree of their shared beginnings, so that a model reads each beginning once."""

# C candidates, N nodes, S steps: the tokens of all candidates

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CandidateTrie:
    """The distinct beginnings of some candidates.

    Node 0 is the last token of the prompt; every other node is a token that some candidate has
    before its last one. A last token needs no node: its probability is read off its parent.

    token_N      (N,) token of each node; that of node 0 is the prompt's and stands as 0 here.
    depth_N      (N,) tokens of the candidate up to and with this one; 0 at node 0.
    sees_NN      (N, N) bool: row n marks n and its ancestors, what n may attend to.
    candidate_S  (S,) the candidate that each step belongs to.
    node_S       (S,) the node after which the step's token comes.
    next_S       (S,) that token.
    """

    token_N: IntArray
    depth_N: IntArray
    sees_NN: npt.NDArray[np.bool_]
    candidate_S: IntArray
    node_S: IntArray
    next_S: IntArray

    @property
    def num_nodes(self) -> int:
        return len(self.token_N)


def candidate_tries(candidate_ids: Sequence[Sequence[int]], max_nodes: int | None = None) -> list[CandidateTrie]:
    """Tries that together hold every candidate once.

    max_nodes  of one trie, unless a single candidate has more tokens; None: one trie for all.
    Candidates are sorted by their tokens, so that those with a shared beginning stay together.
    """
    tries: list[CandidateTrie] = []
    node_of: dict[tuple[int, ...], int] = {(): 0}
    steps: list[tuple[int, int, int]] = []
    for candidate in sorted(range(len(candidate_ids)), key=lambda c: tuple(candidate_ids[c])):
        tokens = tuple(candidate_ids[candidate])
        beginnings = [tokens[:n] for n in range(len(tokens))]
        num_new = sum(beginning not in node_of for beginning in beginnings)
        if max_nodes is not None and steps and len(node_of) + num_new > max_nodes:
            tries.append(_trie(node_of, steps))
            node_of, steps = {(): 0}, []
        for beginning, token in zip(beginnings, tokens, strict=True):
            steps.append((candidate, node_of.setdefault(beginning, len(node_of)), token))
    return [*tries, _trie(node_of, steps)]


def _trie(node_of: dict[tuple[int, ...], int], steps: list[tuple[int, int, int]]) -> CandidateTrie:
    """The trie of some beginnings, parents before their children, with steps (candidate, node, token)."""
    sees_NN = np.eye(len(node_of), dtype=bool)
    for beginning, node in node_of.items():
        if beginning:
            sees_NN[node] |= sees_NN[node_of[beginning[:-1]]]
    step_S3 = np.array(steps, np.int64).reshape(-1, 3)
    return CandidateTrie(
        token_N=np.array([([0, *beginning])[-1] for beginning in node_of], np.int64),
        depth_N=np.array([len(beginning) for beginning in node_of], np.int64),
        sees_NN=sees_NN,
        candidate_S=step_S3[:, 0],
        node_S=step_S3[:, 1],
        next_S=step_S3[:, 2],
    )
