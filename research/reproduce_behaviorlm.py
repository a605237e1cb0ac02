"""BehaviorLM's claims (arXiv 2505.17682) on the simulator, with a language model or a stand-in for one.

    edgebehave llm pretrain -o LM
    python research/reproduce_behaviorlm.py claims STORE -o OUT --base LM --seeds 0 1 2
    python research/reproduce_behaviorlm.py claims STORE -o OUT2 --base smollm2 --format compact --history 10
    python research/reproduce_behaviorlm.py auxiliary STORE -o OUT3 --base smollm2 \
        --conversations research/instructions.jsonl
    python research/reproduce_behaviorlm.py claims KAIST -o OUT4 --base smollm2 --format compact --history 10 \
        --names research/kaist_names.json

KAIST is the store that `ingested("kaist", FOLDER, OUT)` of `research_logs.py` makes. Its names are not in the project,
so its table is keyed by hash, see `name_tables.py`; a table keyed by the names themselves is taken as it is.
`instructions.jsonl` is a corpus of another domain than the general one of `llm tune`, of the same size.
The base may be any causal language model; the stand-in of `llm pretrain` was trained
from scratch on made-up text, knows the simulator's rules, and is no real one: the table says so.
Commands: `claims` (zero-shot, standard fine-tuning, A, A + B, each ablation, popularity, habits, the model for any log,
and with --checkpoint a BehaveGPT checkpoint of the same split; --rows runs some of them alone),
`few-shot` (F = 5, 10, 20, 50), `auxiliary`
(0 to 20 %), `threshold` (0.5, 1, 5, 10 %), `backbone` (several --base), `efficiency` (accuracy against
the number of training samples, of the language model and of edge models that it trains).

Every tuned model is a folder of OUT and every row a JSON file beside its probabilities (.npz, for
`reproduce_cascade.py`), so a command that is killed goes on where it stopped. Rows with the same
first stage share its folder. OUT belongs to the settings that it was begun with (settings.json): a command with others
is refused.
Balanced protocol: accuracies; users protocol: weighted precision and recall. Samples are the same
for all rows and seeds; intervals are Student's t over seeds, of one seed the bootstrap's over users.
Rows of `claims` come twice: as they are, and with every probability divided by the behavior's share
of the training part (logit adjustment with tau 1, Menon et al. 2021). The balanced protocol rewards
a model that forgets how frequent behaviors are. The effect of B-tuning beyond that is its distance
from the adjusted A.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgebehave import Predictor
from edgebehave_train.llm.evaluation.protocols import (
    Protocol,
    ProtocolTable,
    balanced_samples,
    checkpoint_probs,
    habit_sample_probs,
    protocol_table,
    random_samples,
)
from edgebehave_train.llm.prompts.behavior_names import read_name_table, readable_names
from edgebehave_train.llm.prompts.conversations import SMALL_CORPUS
from edgebehave_train.llm.prompts.encoding import PromptEncoder
from edgebehave_train.llm.prompts.samples import LLM_SPLIT, LogSamples, log_samples
from edgebehave_train.llm.prompts.wording import PromptConfig
from edgebehave_train.llm.scoring.language_model import LoraSettings, load_language_model, merge_adapter
from edgebehave_train.llm.tuning.balanced_selection import SelectionConfig
from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig, Stage
from edgebehave_train.llm.tuning.progressive_tuning import resume_tuning, tune_progressively
from edgebehave_train.llm.tuning.tuned_llm import TunedLLM, prompt_encoder, sample_probs
from edgebehave_train.llm.tuning.tuning_loop import TuningConfig, TuningProgress
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.metrics.bootstrap import Interval
from edgebehave_train.metrics.seed_intervals import mean_text
from edgebehave_train.training.checkpoint import Checkpoint
from name_tables import table_of_behaviors
from verbs import commit, peak_bytes, train

Probs = npt.NDArray[np.float32]
EDGE_SHARES = (0.01, 0.05, 0.25, 1.0)
EDGE_EPOCHS = 8
"""Of the whole training part."""
AS_IT_IS, ADJUSTED = "as it is", "adjusted"
_FREE = ("command", "store", "out", "base", "checkpoint", "rows", "seeds")
"""Options that may differ between the commands that fill one folder."""
Metrics = dict[str, dict[str, Interval]]
"""AS_IT_IS and ADJUSTED -> column -> value, with its interval over users."""

COLUMNS = {
    "overall": "overall",
    "head": "head",
    "medium": "medium",
    "tail": "tail",
    "precision": "weighted precision",
    "recall": "weighted recall",
}
"""Column -> title: four of the balanced protocol, two of the users protocol."""
_METRIC: dict[str, tuple[Protocol, str]] = {
    "overall": ("balanced", "weighted_recall"),
    "head": ("balanced", "head_accuracy"),
    "medium": ("balanced", "medium_accuracy"),
    "tail": ("balanced", "tail_accuracy"),
    "precision": ("users", "weighted_precision"),
    "recall": ("users", "weighted_recall"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One row: stages, and what differs from the full method.

    first, second  stages; the first is shared by all rows with the same settings of it.
    ratio          share of conversations in anchor and tail stages.
    threshold      share above which a behavior is an anchor.
    samples        of each stage but the balanced one.
    """

    first: tuple[Stage, ...] = ("anchor",)
    second: tuple[Stage, ...] = ("balanced",)
    ratio: float = 0.05
    threshold: float = 0.01
    samples: int
    selection: SelectionConfig = field(default_factory=lambda: SelectionConfig(pool=2))

    def config(self, options: argparse.Namespace, seed: int, *, whole: bool) -> BehaviorLMConfig:
        tuning = TuningConfig(epochs=options.epochs, learning_rate=options.learning_rate, batch_size=options.batch_size)
        return BehaviorLMConfig(
            stages=self.first + self.second if whole else self.first,
            anchor_threshold=self.threshold,
            auxiliary_ratio=self.ratio,
            max_samples=self.samples,
            max_validation=options.validation,
            selection=self.selection,
            prompt=prompt_of(options),
            lora=LoraSettings(rank=options.rank, alpha=2 * options.rank),
            tuning=tuning,
            balanced_tuning=replace(tuning, learning_rate=options.learning_rate / 2),
            seed=seed,
        )


def prompt_of(options: argparse.Namespace) -> PromptConfig:
    return PromptConfig(
        format=options.format, history=options.history, candidates=options.candidates, answers=options.answers
    )


class Trial:
    """All that rows share: the log, the samples to be answered, and the folder of results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.out: Path = options.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.store = EventStore.open(options.store)
        self.names = options.names and table_of_behaviors(options.names, self.store.vocabulary, self.out)
        self._require_same_settings()
        part = log_samples(self.store, options.part, history=options.history)
        self.asked: dict[Protocol, LogSamples] = {
            "balanced": balanced_samples(part, options.per_behavior),
            "users": random_samples(part, options.users_samples),
        }
        content = {f"{protocol}_behavior": of.behavior for protocol, of in self.asked.items()}
        content |= {f"{protocol}_user": of.targets.user for protocol, of in self.asked.items()}
        np.savez(self.out / "asked.npz", shares=part.train_counts / part.train_counts.sum(), **content)

    def _require_same_settings(self) -> None:
        """Raises SystemExit if the folder of results was begun with other settings or on another log."""
        settings = {name: str(value) for name, value in vars(self.options).items() if name not in _FREE}
        settings["data"] = self.store.fingerprint
        file = self.out / "settings.json"
        if file.is_file():
            before = json.loads(file.read_text())
            different = [name for name in settings if before.get(name) != settings[name]]
            if different:
                raise SystemExit(
                    f"{self.out} was begun with {different[0]} = {before.get(different[0])}, now it is "
                    f"{settings[different[0]]}; give another --out"
                )
        file.write_text(json.dumps(settings, indent=1) + "\n")

    def row(self, key: str, predict: Callable[[LogSamples], Probs]) -> Metrics:
        """Metrics of a row as it is and adjusted, from its file if it is there."""
        file = self.out / f"{key}.json"
        if file.is_file():
            return _read_metrics(json.loads(file.read_text()))
        started = time.process_time()
        tables: dict[Protocol, ProtocolTable] = {}
        kept: dict[str, Probs] = {}
        for protocol, samples in self.asked.items():
            probs = predict(samples)
            shares = np.maximum(samples.train_counts, 1) / samples.train_counts.sum()
            both = {AS_IT_IS: probs, ADJUSTED: probs / shares}
            tables[protocol] = protocol_table(protocol, samples, both)
            kept[protocol] = probs
        np.savez_compressed(self.out / f"{key}.npz", **kept)
        metrics: Metrics = {
            form: {name: tables[protocol].rows[form].metrics[metric] for name, (protocol, metric) in _METRIC.items()}
            for form in (AS_IT_IS, ADJUSTED)
        }
        content = {
            "metrics": _by_column(metrics, lambda one: one.value),
            "intervals": _by_column(metrics, lambda one: (one.low, one.high)),
            "commit": commit(),
            "cpu_s": round(time.process_time() - started, 1),
            "peak_mb": round(peak_bytes() / 1e6),
            "data": self.store.fingerprint,
            "samples": {protocol: len(samples) for protocol, samples in self.asked.items()},
            "groups": dict(tables["balanced"].group_samples),
            "options": {name: str(value) for name, value in vars(self.options).items()},
        }
        file.write_text(json.dumps(content, indent=1) + "\n")
        shown = "  ".join(f"{name} {one.value:.3f}" for name, one in metrics[AS_IT_IS].items())
        print(f"{key}: {shown}  ({content['cpu_s']} CPU s)", flush=True)
        return metrics

    def language_model(self, key: str, recipe: Recipe | None, base: Path, seed: int) -> Metrics:
        """Metrics of a language model as it is (recipe None) or tuned."""
        key = f"{key}-{base.name}" + (f"-seed{seed}" if recipe else "")  # what is not tuned has no seed

        @cache
        def opened() -> tuple[Any, PromptEncoder]:
            if recipe is None:
                model, tokenizer = load_language_model(base, device="cpu")
                table = read_name_table(self.names) if self.names else None
                names = readable_names(self.asked["users"].vocabulary, table)
                config = BehaviorLMConfig(prompt=prompt_of(self.options))
                return model, prompt_encoder(model, tokenizer, names, config)
            tuned = self._tuned(key, recipe, base, seed)
            model, tokenizer = tuned.load("cpu")
            return merge_adapter(model), tuned.encoder(model, tokenizer)

        def predict(samples: LogSamples) -> Probs:
            return sample_probs(*opened(), samples)

        return self.row(key, predict)

    def _tuned(self, key: str, recipe: Recipe, base: Path, seed: int) -> TunedLLM:
        if not recipe.first:
            return self._stages(recipe.config(self.options, seed, whole=True), base, key)
        start = recipe.config(self.options, seed, whole=False)
        name = "-".join([*recipe.first, f"{recipe.samples}", f"aux{recipe.ratio}", f"over{recipe.threshold}"])
        first = self._stages(start, base, f"{name}-{base.name}-seed{seed}")
        if not recipe.second:
            return first
        config = replace(recipe.config(self.options, seed, whole=True), stages=recipe.second)
        return self._stages(config, first.path, key, base)

    def _stages(self, config: BehaviorLMConfig, start: Path, name: str, base: Path | None = None) -> TunedLLM:
        folder = self.out / "tuned" / name
        begun = (folder / "behaviorlm.json").is_file()
        if begun and (tuned := TunedLLM.open(folder)).is_finished:
            return tuned
        print(f"tuning {name}", flush=True)
        started = time.process_time()

        def report(progress: TuningProgress) -> None:
            if progress.kind == "validation":
                print(
                    f"  epoch {progress.epoch}: loss {progress.loss:.3f}, validation "
                    f"{progress.validation_loss:.3f}, {progress.samples_per_s:.1f} samples/s, "
                    f"{time.process_time() - started:.0f} CPU s, peak {peak_bytes() / 1e6:.0f} MB",
                    flush=True,
                )

        if begun:
            return resume_tuning(self.store, folder, device="cpu", on_progress=report)
        beside = (base or start) / "conversations.jsonl"
        corpus = self.options.conversations or (beside if beside.is_file() else SMALL_CORPUS)
        return tune_progressively(
            self.store, start, config, folder, names=self.names, auxiliary=corpus, device="cpu", on_progress=report
        )


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(value=value, low=low, high=high)


def _by_column(metrics: Metrics, part: Callable[[Interval], Any]) -> dict[str, dict[str, Any]]:
    return {form: {name: part(one) for name, one in values.items()} for form, values in metrics.items()}


def _read_metrics(content: Mapping[str, Any]) -> Metrics:
    ends = content["intervals"]
    return {
        form: {name: _interval(value, *ends[form][name]) for name, value in values.items()}
        for form, values in content["metrics"].items()
    }


def claims(trial: Trial) -> dict[str, list[Metrics]]:
    """The rows of the paper's main table and of its ablations."""
    options = trial.options
    n, per = options.samples, SelectionConfig(pool=options.pool, per_behavior=options.per_class)
    num_balanced = per.per_behavior * (trial.asked["users"].vocabulary.num_behaviors - 1)
    recipes = {
        "zero-shot": None,
        "standard fine-tuning": Recipe(first=("all",), second=(), samples=n + num_balanced),
        "A": Recipe(second=(), samples=n),
        "A + B": Recipe(samples=n, selection=per),
        "A + B, no auxiliary data": Recipe(samples=n, selection=per, ratio=0.0),
        "A + B, uniform selection": Recipe(samples=n, selection=replace(per, by="uniform")),
        "A + B, no category condition": Recipe(samples=n, selection=replace(per, same_category=False)),
        "B alone": Recipe(first=(), samples=n, selection=per),
        "tail first, then anchors": Recipe(first=("tail", "anchor"), second=(), samples=n),
    }
    if strange := set(options.rows or ()) - set(recipes):
        raise SystemExit(f"there is no row {', '.join(strange)}; the rows are {'; '.join(recipes)}")
    if options.answers == "tokens":
        if "zero-shot" in (options.rows or ()):
            raise SystemExit(
                "a base has no tokens of behaviors before it is tuned: no row zero-shot, or --answers names"
            )
        del recipes["zero-shot"]
    rows: dict[str, list[Metrics]] = {name: [] for name in (recipes if options.rows is None else options.rows)}
    for seed in options.seeds:
        for name in rows:
            recipe, key = recipes[name], name.replace(" ", "_").replace(",", "")
            rows[name].append(trial.language_model(key, recipe, options.base[0], seed))
    rows["popularity"] = [trial.row("popularity", popularity_probs)]
    rows["model for any log"] = [trial.row("universal", lambda s: universal_probs(trial.store, s))]
    rows["habits"] = [trial.row("habits", lambda s: habit_sample_probs(trial.store, s))]
    for path in options.checkpoint:
        model = Checkpoint.open(path)
        key = f"checkpoint-{path.name}"
        row = trial.row(key, lambda s, m=model: checkpoint_probs(m, trial.store, s))  # type: ignore[misc]  # m is bound at once
        rows.setdefault("BehaveGPT", []).append(row)
    return rows


def popularity_probs(samples: LogSamples) -> Probs:
    """Shares of the training part, the same for every sample."""
    shares_V = (samples.train_counts / samples.train_counts.sum()).astype(np.float32)
    return np.tile(shares_V, (len(samples), 1))


def universal_probs(store: EventStore, samples: LogSamples) -> Probs:
    """`Predictor()`, told each user's past behaviors and asked at the time of the target.

    Its model has learned from KAIST, ATUS and the web panel (`universal_training.py`) and from no other log. It is told
    behaviors, not events: it would predict events, several of which stand for one behavior.
    """
    predictor = Predictor(max_ahead=None)
    id_of = {name: b for b, name in enumerate(samples.vocabulary.behaviors)}
    sample_of_event = {int(event): i for i, event in enumerate(samples.targets.event)}
    probs_SV = np.zeros((len(samples), samples.vocabulary.num_behaviors), np.float32)
    for user in np.unique(samples.targets.user).tolist():
        for position, event in enumerate(store.named_events(user), int(store.user_start[user])):
            if (sample := sample_of_event.get(position)) is not None:
                moment = {"at": event.time_s, "utc_offset_min": event.utc_offset_min}
                for one in predictor.predict("user", probs_SV.shape[1], **moment):
                    if one.behavior in id_of:
                        probs_SV[sample, id_of[one.behavior]] = one.probability
            if event.behavior is not None:
                event._replace(event=event.behavior).observe_in(predictor, "user")
        predictor.forget("user")
    return probs_SV


def sweep(trial: Trial) -> dict[str, list[Metrics]]:
    """A + B with one setting changed."""
    options = trial.options
    selection = SelectionConfig(pool=options.pool, per_behavior=options.per_class, by=options.selection)
    full = Recipe(samples=options.samples, selection=selection)
    recipes: dict[str, tuple[Recipe, Path]] = {}
    for base in options.base:
        if options.command == "few-shot":
            for shots in (5, 10, 20, 50):
                chosen = replace(full.selection, per_behavior=shots)
                recipes[f"F = {shots}"] = replace(full, selection=chosen), base
        if options.command == "auxiliary":
            for ratio in (0.0, 0.025, 0.05, 0.1, 0.2):
                recipes[f"auxiliary {ratio:.1%}"] = replace(full, ratio=ratio), base
        if options.command == "threshold":
            for threshold in (0.005, 0.01, 0.05, 0.1):
                recipes[f"anchors over {threshold:.1%}"] = replace(full, threshold=threshold), base
        if options.command == "backbone":
            recipes[base.name] = full, base
        if options.command == "efficiency":
            for share in (1 / 8, 1 / 4, 1 / 2, 1):
                num = max(1, round(share * options.samples))
                recipes[f"A + B, {num} samples of anchors"] = replace(full, samples=num), base
    rows: dict[str, list[Metrics]] = {name: [] for name in recipes}
    for seed in options.seeds:
        for name, (recipe, base) in recipes.items():
            key = f"{options.command}-{name}".replace(" ", "_").replace(",", "").replace("%", "")
            rows[name].append(trial.language_model(key, recipe, base, seed))
    if options.command == "efficiency":
        rows |= edge_models(trial)
    return rows


def edge_models(trial: Trial) -> dict[str, list[Metrics]]:
    """Edge models trained on shares of the training part; a smaller share has more passes."""
    num_all = int(trial.asked["users"].train_counts.sum())
    rows: dict[str, list[Metrics]] = {}
    for share in EDGE_SHARES:
        epochs = min(40, round(EDGE_EPOCHS / share**0.5))
        for seed in trial.options.seeds:
            path = trial.out / "edge" / f"tiny-{share:g}-seed{seed}"
            settings = (f"split.train={LLM_SPLIT.train}", f"data_share={share}")
            given = [word for setting in settings for word in ("--set", setting)]
            train(trial.store.path, path, "tiny", seed, "user", (*given, "--epochs", str(epochs)))
            model = Checkpoint.open(path)
            key = f"checkpoint-{path.name}"
            row = trial.row(key, lambda s, m=model: checkpoint_probs(m, trial.store, s))  # type: ignore[misc]  # m is bound at once
            rows.setdefault(f"BehaveGPT tiny, {share * num_all:,.0f} samples", []).append(row)
    return rows


def markdown(rows: dict[str, list[Metrics]], forms: Sequence[str]) -> str:
    """Means over seeds with their 95 % intervals; of one seed the value with its interval over users."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for form in forms:
        for name, runs in rows.items():
            cells = [_cell([run[form][column] for run in runs]) for column in COLUMNS]
            title = name if form == AS_IT_IS else f"{name}, {form}"
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(runs: Sequence[Interval]) -> str:
    if len(runs) == 1:
        return f"{runs[0].value:.3f} [{runs[0].low:.3f}, {runs[0].high:.3f}]"
    return mean_text([run.value for run in runs])


def what_it_is(base: Path) -> str:
    """One line that says whether the base is the stand-in."""
    file = base / "pretraining.json"
    if not file.is_file():
        return f"base: {base.name}"
    record: dict[str, Any] = json.loads(file.read_text())
    if record.get("log"):
        return (
            f"base {base.name}: {record['num_parameters']:,} parameters, TRAINED FROM SCRATCH on "
            f"{record['num_tokens']:,} tokens about the users of a log: no real language model"
        )
    return (
        f"base {base.name}: {record['num_parameters']:,} parameters, TRAINED FROM SCRATCH on "
        f"{record['num_tokens']:,} tokens of made-up text about the simulator's world: a stand-in, "
        f"no real language model (it names what situations in words lead to: {record['knows']})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = ("claims", "few-shot", "auxiliary", "threshold", "backbone", "efficiency")
    parser.add_argument("command", choices=commands)
    parser.add_argument("store", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--base", type=Path, nargs="+", required=True)
    parser.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    parser.add_argument("--conversations", type=Path, help="default: beside the base, or those of `llm tune`")
    parser.add_argument("--names", type=Path, help="readable names: JSON by behavior or by hash of it")
    parser.add_argument("--rows", nargs="*", metavar="NAME", help="of the language model in `claims`, in this order")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=1200, help="of stage A")
    parser.add_argument("--per-class", type=int, default=20, help="F of stage B, except in `few-shot`")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=8, help="of the adapters")
    parser.add_argument("--history", type=int, default=20, help="past behaviors in a prompt")
    parser.add_argument("--pool", type=int, default=2, help="samples of a behavior predicted for stage B, in F")
    parser.add_argument(
        "--selection", default="difficulty", choices=("difficulty", "uniform"), help="of stage B, except in `claims`"
    )
    parser.add_argument("--format", default="sampled", choices=("compact", "sampled"), help="wording of the prompts")
    parser.add_argument("--candidates", default="shuffled", choices=("shuffled", "none"))
    parser.add_argument(
        "--answers", default="names", choices=("names", "tokens"), help="tokens: a new one for each behavior"
    )
    parser.add_argument("--part", default="test", choices=("validation", "test"))
    parser.add_argument("--validation", type=int, default=150)
    parser.add_argument("--per-behavior", type=int, default=15, help="test samples, balanced")
    parser.add_argument("--users-samples", type=int, default=300, help="test samples, users")
    options = parser.parse_args(arguments)
    warnings.simplefilter("once")
    trial, started = Trial(options), time.monotonic()
    rows = claims(trial) if options.command == "claims" else sweep(trial)
    forms = (AS_IT_IS, ADJUSTED) if options.command == "claims" else (AS_IT_IS,)
    print("\n" + markdown(rows, forms) + "\n")
    for base in options.base:
        print(what_it_is(base))
    sizes = ", ".join(f"{len(samples)} {name}" for name, samples in trial.asked.items())
    print(
        f"{options.part} samples: {sizes}; seeds {options.seeds}, "
        f"data {trial.store.fingerprint[:16]}, "
        f"{time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
