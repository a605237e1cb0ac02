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
    tries, group = [], _Growing()
    for candidate in sorted(range(len(candidate_ids)), key=lambda c: tuple(candidate_ids[c])):
        tokens = candidate_ids[candidate]
        full = max_nodes is not None and group.num_nodes_with(tokens) > max_nodes
        if full and group.steps:
            tries.append(group.finished())
            group = _Growing()
        group.add(candidate, tokens)
    tries.append(group.finished())
    return tries


class _Growing:
    """A trie that grows by one candidate after the other."""

    def __init__(self) -> None:
        self.node_of: dict[tuple[int, ...], int] = {(): 0}
        self.steps: list[tuple[int, int, int]] = []

    def num_nodes_with(self, tokens: Sequence[int]) -> int:
        """The number of nodes after a candidate would be added."""
        new = sum(tuple(tokens[:n]) not in self.node_of for n in range(1, len(tokens)))
        return len(self.node_of) + new

    def add(self, candidate: int, tokens: Sequence[int]) -> None:
        for n, token in enumerate(tokens):
            node = self.node_of.setdefault(tuple(tokens[:n]), len(self.node_of))
            self.steps.append((candidate, node, token))

    def finished(self) -> CandidateTrie:
        sees_NN = np.eye(len(self.node_of), dtype=bool)
        for beginning, node in self.node_of.items():  # parents come before their children
            if beginning:
                sees_NN[node] |= sees_NN[self.node_of[beginning[:-1]]]
        steps = np.array(self.steps, np.int64).reshape(-1, 3)
        return CandidateTrie(
            token_N=np.array([([0, *beginning])[-1] for beginning in self.node_of], np.int64),
            depth_N=np.array([len(beginning) for beginning in self.node_of], np.int64),
            sees_NN=sees_NN,
            candidate_S=steps[:, 0],
            node_S=steps[:, 1],
            next_S=steps[:, 2],
        )
