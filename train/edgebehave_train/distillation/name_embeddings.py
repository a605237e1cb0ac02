"""Rows of the edge model that start from a language model's embeddings of names.

The embedding x of a name is the mean of the language model's input embeddings of its tokens. An
event that stands for a behavior has the mean of both names: `hotel.book` is near `train.book`
and near the other events of "booking a hotel".

From scratch, rows are the embeddings, centered, along their main axes and turned at random:

    row_i = s U_i Sigma R        X - mean X = U Sigma W^T,  R random with orthonormal rows

s gives rows the spread of fresh ones. The inner products of names are kept, as far as the width
allows, and nothing else.

For a trained model, rows of new names are predicted from the rows Y of known ones:

    row(x) = c + k(x)^T a      (K + l I) a + 1 c = Y,  1^T a = 0     k, K: cosines of centered names

kernel ridge regression with a free constant: similar names get similar rows.
The ridge l is the one with the smallest error of rows left out, the events of a behavior together,
since their names are half the same; the residuals of a group g are C_gg^-1 a_g with

    a = C Y,   C = H - H 1 1^T H / (1^T H 1),   H = (K + l I)^-1        Cawley and Talbot 2004

The constant is fitted without the names that are left out: a mean over all rows would reveal
theirs, since the other deviations sum to the opposite. The largest l gives the mean row: it wins
where names say nothing about rows.
"""

# N names, E width of the language model, W width of rows, B new names

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgebehave.vocabulary import UNKNOWN, Vocabulary
from edgebehave_train.adaptation.new_rows import set_prediction_rows
from edgebehave_train.adaptation.support_set import Support
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint

_RIDGES = tuple(10.0**power for power in range(-3, 5))
"""Of cosines, whose diagonal is 1; 10^4 leaves the mean row to four digits."""


@dataclass(frozen=True, kw_only=True)
class NameEmbeddings:
    """Names and their embeddings by a language model.

    embed     names -> (N, E) float32.
    readable  name of the vocabulary -> words; a name that it lacks is read as it is, with blanks
              in place of its punctuation.
    card      of the language model, JSON: part of the student's training.json.
    """

    embed: Callable[[Sequence[str]], Tensor]
    readable: Mapping[str, str]
    card: Mapping[str, Any]

    def of_behaviors(self, vocabulary: Vocabulary) -> Tensor:
        """(V - 1, E) of the behaviors 1..V-1."""
        return self.embed([self._words(name) for name in vocabulary.behaviors[1:]])

    def of_events(self, vocabulary: Vocabulary) -> Tensor:
        """Of the events 1.. of a vocabulary, one row each."""
        own = self.embed([self._words(name) for name in vocabulary.events[1:]])
        behavior = torch.tensor(vocabulary.event_to_behavior[1:])
        has_one = (behavior > UNKNOWN)[:, None]
        theirs = self.of_behaviors(vocabulary)[(behavior - 1).clamp_min(0)]
        return torch.where(has_one, (own + theirs) / 2, own)

    def _words(self, name: str) -> str:
        return self.readable.get(name) or words_of(name)


def words_of(name: str) -> str:
    """`clip_editor.cut` -> `clip editor cut`; a name without letters or digits stays itself."""
    return " ".join("".join(c if c.isalnum() else " " for c in name).split()) or name


def mean_token_embeddings(weight_TE: Tensor, tokenize: Callable[[str], Sequence[int]], names: Sequence[str]) -> Tensor:
    """Mean input embedding of the tokens of each name, (N, E) float32.

    weight_TE  the embedding table of a language model.
    tokenize   text -> token ids, without special tokens.
    Raises ValueError for a name without a token.
    """
    rows = []
    for name in names:
        ids = list(tokenize(name))
        if not ids:
            raise ValueError(f"the tokenizer makes no token of the name {name!r}; give it another")
        rows.append(weight_TE[ids].float().mean(0))
    return torch.stack(rows)


@torch.no_grad()
def begin_with_names(model: BehaviorModel, vocabulary: Vocabulary, names: NameEmbeddings, seed: int) -> None:
    """Rows of events and behaviors of a fresh model from their names, in place; see the top."""
    generator = torch.Generator().manual_seed(seed)
    for weight, vectors in (
        (model.event.weight, names.of_events(vocabulary)),
        (model.head_out.weight, names.of_behaviors(vocabulary)),
    ):
        rows = turned_rows(vectors, weight.shape[1], float(weight[1:].std()), generator)
        weight[1:] = rows.to(weight.device)


@torch.no_grad()
def rows_from_names(
    model: BehaviorModel,
    store: EventStore,
    student: Checkpoint,
    vocabulary: Vocabulary,
    support: Support,
    names: NameEmbeddings,
) -> None:
    """Rows of new events and behaviors predicted from those of known ones, in place.

    model    of `grown_model`: the student's, with rows for the names that are new.
    support  of the same, for the biases.
    """
    num_events, num_behaviors = student.vocabulary.num_events, student.vocabulary.num_behaviors
    if vocabulary.num_events > num_events:
        vectors = names.of_events(vocabulary)
        known, new = vectors[: num_events - 1], vectors[num_events - 1 :]
        behavior = torch.tensor(vocabulary.event_to_behavior[1:num_events])
        # An event without a behavior is a group of its own.
        group = torch.where(behavior > UNKNOWN, behavior, -1 - torch.arange(len(behavior)))
        model.event.weight[num_events:] = predicted_rows(known, model.event.weight[1:num_events], new, group)
    if vocabulary.num_behaviors > num_behaviors:
        vectors = names.of_behaviors(vocabulary)
        known, new = vectors[: num_behaviors - 1], vectors[num_behaviors - 1 :]
        each = torch.arange(len(known))
        rows = predicted_rows(known, model.head_out.weight[1:num_behaviors], new, each)
        set_prediction_rows(model, store, vocabulary, support, rows)


def turned_rows(vectors_NE: Tensor, width: int, spread: float, generator: torch.Generator) -> Tensor:
    """Rows (N, width) with the geometry of some vectors and a standard deviation of `spread`.

    Vectors that are all alike leave noise of that spread.
    """
    centered = vectors_NE.double() - vectors_NE.double().mean(0)
    left, scale, _ = torch.linalg.svd(centered, full_matrices=False)
    kept = min(width, int((scale > 1e-9 * scale.max()).sum()) if scale.max() > 0 else 0)
    noise = torch.randn(width, width, generator=generator, dtype=torch.float64)
    if not kept:
        return spread * torch.randn(len(vectors_NE), width, generator=generator)
    turn, _ = torch.linalg.qr(noise)
    rows = left[:, :kept] * scale[:kept] @ turn[:kept]
    return (rows * spread / rows.std()).float()


def predicted_rows(known_NE: Tensor, rows_NW: Tensor, new_BE: Tensor, group_N: Tensor) -> Tensor:
    """Rows of new names by kernel ridge regression, (B, W); see the top.

    known_NE, rows_NW  names that have a row, and the rows.
    group_N            (N,) group of each name, left out together; with fewer than 3 groups the mean
                       row is predicted for all.
    """
    rows_NW = rows_NW.double()
    if len(group_N.unique()) < 3:
        return rows_NW.mean(0).float().expand(len(new_BE), -1)
    center = known_NE.double().mean(0)
    known = torch.nn.functional.normalize(known_NE.double() - center, dim=1)
    new = torch.nn.functional.normalize(new_BE.double() - center, dim=1)
    weight_NW, constant_W, _ = min(_ridge_fits(known, rows_NW, group_N), key=lambda fit: fit[2])
    return (constant_W + new @ known.T @ weight_NW).float()


def explained_share(known_NE: Tensor, rows_NW: Tensor, group_N: Tensor) -> float:
    """Share of the squared distance of left-out rows from the mean row that names explain, at the best ridge.

    0 where they say nothing. It compares embeddings without a new name.
    """
    centered = known_NE.double() - known_NE.double().mean(0)
    fits = _ridge_fits(torch.nn.functional.normalize(centered, dim=1), rows_NW.double(), group_N)
    return 1 - min(error for *_, error in fits) / fits[-1][2]


def _ridge_fits(known_NE: Tensor, rows_NW: Tensor, group_N: Tensor) -> list[tuple[Tensor, Tensor, float]]:
    """Fits of the cosines of centered names by ridge, the smallest first; the last gives the mean row."""
    return [ridge_fit(known_NE @ known_NE.T, rows_NW, group_N, ridge) for ridge in _RIDGES]


def ridge_fit(kernel_NN: Tensor, rows_NW: Tensor, group_N: Tensor, ridge: float) -> tuple[Tensor, Tensor, float]:
    """a (N, W), c (W,) and the mean squared error of each group predicted from all others."""
    inverse = torch.linalg.inv(kernel_NN + ridge * torch.eye(len(kernel_NN), dtype=torch.float64))
    sums_N = inverse.sum(1)
    centering_NN = inverse - torch.outer(sums_N, sums_N) / sums_N.sum()
    weight_NW = centering_NN @ rows_NW
    constant_W = sums_N @ rows_NW / sums_N.sum()
    error = 0.0
    for group in group_N.unique():
        inside = (group_N == group).nonzero()[:, 0]
        block = centering_NN[inside][:, inside]
        error += float((torch.linalg.solve(block, weight_NW[inside]) ** 2).sum())
    return weight_NW, constant_W, error / rows_NW.numel()
