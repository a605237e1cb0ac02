"""The card of a checkpoint or a bundle on a hub: README.md with the metadata that hubs read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebehave_train.evaluation.part_predictions import BASELINE_NAMES, added_baselines, baseline_label
from edgebehave_train.files import read_json
from edgebehave_train.hub.contents import Contents
from edgebehave_train.training.checkpoint import Checkpoint

_METRICS = {"hr_at_1": "HR@1", "hr_at_3": "HR@3", "macro_recall": "macro recall"}
_TAGS = ("next-behavior-prediction", "on-device", "sequence-model")
_UNIVERSAL = "universal"


@dataclass(frozen=True, kw_only=True)
class CardText:
    """Facts for a card that are not in the files.

    title       of the card.
    license     identifier as "apache-2.0"; "other": not given.
    log         name of the training log.
    data        lines about the training log, as its license, its span, and how it was collected.
    """

    title: str
    license: str = "other"
    log: str = "an event log"
    data: Sequence[str] = ()


def card(contents: Contents, text: CardText) -> str:
    """Markdown with a YAML header; all values of the header are quoted as JSON, which YAML contains."""
    quality = _quality(contents)
    part, model, best = _measured(quality)
    sections = [
        f"# {text.title}",
        _what_it_is(contents),
        "## Use",
        _USE[contents.kind],
        "## Quality",
        _quality_table(part, model, best),
        *_acting(contents.manifest.get("acting")),
        "## Training data",
        "\n".join(f"- {line}" for line in [f"Log: {text.log}", *_data(contents), *text.data]),
        "## Intended use",
        _INTENDED,
        "## Limits",
        _limits(contents),
        "## License",
        _license(text.license),
        "## Digest",
        f"`{contents.digest}`\n\n{_PINNED[contents.kind]}",
    ]
    return _header(contents, text, part, model) + "\n\n".join(sections) + "\n"


def _header(contents: Contents, text: CardText, part: str, model: Mapping[str, float]) -> str:
    format_tag = "onnx" if contents.kind == "bundle" else "safetensors"
    lines = ["---", "library_name: edgebehave", f"license: {json.dumps(text.license)}", "tags:"]
    lines += [f"- {tag}" for tag in (*_TAGS, format_tag)]
    if model:
        lines += [
            "model-index:",
            f"- name: {json.dumps(text.title)}",
            "  results:",
            "  - task:",
            "      type: next-behavior-prediction",
            "      name: Next-behavior prediction",
            "    dataset:",
            "      type: event-log",
            f"      name: {json.dumps(text.log)}",
            f"      split: {part}",
            "    metrics:",
        ]
        for name, label in _METRICS.items():
            if model.get(name) is not None:
                lines += [f"    - type: {name}", f"      name: {label}", f"      value: {model[name]:.4f}"]
    return "\n".join([*lines, "---", "", ""])


def _quality(contents: Contents) -> Mapping[str, Any]:
    if contents.kind == "bundle":
        return dict(contents.manifest.get("quality") or {})
    return Checkpoint.open(contents.path).read_metrics()


Measured = tuple[str, Mapping[str, float], tuple[str, Mapping[str, float]] | None]
"""The part, the metrics of the model, and the best baseline with its own."""


def _measured(quality: Mapping[str, Any]) -> Measured:
    """From the test part if that was read, else from validation; nothing if neither was measured."""
    baselines = {*BASELINE_NAMES, *added_baselines(), _UNIVERSAL}
    for part in ("test", "validation"):
        rows = quality.get(part) or {}
        model = next((row for name, row in rows.items() if name not in baselines and ", " not in name), None)
        if model is not None:
            others = [(name, row) for name, row in rows.items() if name in baselines]
            best = max(others, key=lambda one: one[1].get("hr_at_1") or 0.0, default=None)
            return part, model, best
    return "", {}, None


def _quality_table(part: str, model: Mapping[str, float], best: tuple[str, Mapping[str, float]] | None) -> str:
    if not model:
        return "Not measured: `edgebehave evaluate` writes the figures that stand here."
    rows = [("this model", model), *([(f"best baseline: {baseline_label(best[0])}", best[1])] if best else [])]
    lines = [f"On the {part} part of the log.", "", f"| predictor | {' | '.join(_METRICS.values())} |"]
    lines.append("|---|" + "---:|" * len(_METRICS))
    for label, row in rows:
        values = [row.get(name) for name in _METRICS]
        lines.append(f"| {label} | {' | '.join('' if v is None else f'{v:.3f}' for v in values)} |")
    return "\n".join(lines)


def _acting(acting: Mapping[str, Any] | None) -> list[str]:
    """Precision at some coverages, of a bundle that knows it."""
    if not acting:
        return []
    points = list(zip(acting["coverage"], acting["threshold"], acting["precision"], strict=True))
    shown = points[1::4] or points
    return [
        "An app that acts on the first prediction alone, when it is sure enough:\n\n"
        f"| acts at | {' | '.join(f'{coverage:.0%}' for coverage, _, _ in shown)} |\n"
        f"|---|{'---:|' * len(shown)}\n"
        f"| probability at least | {' | '.join(f'{threshold:.2f}' for _, threshold, _ in shown)} |\n"
        f"| right | {' | '.join(f'{precision:.2f}' for _, _, precision in shown)} |"
    ]


def _what_it_is(contents: Contents) -> str:
    if contents.kind == "bundle":
        manifest = contents.manifest
        num_bytes = sum(entry["bytes"] for entry in manifest["files"].values())
        if manifest.get("kind") == _UNIVERSAL:
            return f"A model that predicts the next behavior in any log, from the user's own past. {num_bytes:,} bytes."
        shape = manifest["model"]
        return (
            f"Predicts which of {shape['num_behaviors'] - 1:,} behaviors comes next, on the device. ONNX, "
            f"{manifest['precision']}, for {manifest['target']} runtimes, {num_bytes:,} bytes."
        )
    checkpoint = Checkpoint.open(contents.path)
    return (
        f"Weights of a next-behavior model (BehaveGPT, arXiv 2505.17631): {checkpoint.training.num_parameters:,} "
        f"parameters, {checkpoint.model_config.num_behaviors - 1:,} behaviors, objective "
        f"{checkpoint.config.objective.name}, seed {checkpoint.config.seed}."
    )


def _data(contents: Contents) -> list[str]:
    source = contents.manifest.get("source") or {}
    if contents.kind == "bundle":
        split, fingerprint = (source.get("config") or {}).get("split") or {}, source.get("data_fingerprint")
        lines = []
    else:
        checkpoint = Checkpoint.open(contents.path)
        split, fingerprint = vars(checkpoint.config.split), checkpoint.training.data_fingerprint
        lines = [f"{int(checkpoint.behavior_counts.sum()):,} behaviors in the training part"]
    if split:
        lines.append(f"Split by {split['by']}: {split['train']:.0%} training, {split['validation']:.0%} validation")
    return [*lines, *([f"Fingerprint: `{fingerprint}`"] if fingerprint else [])]


def _limits(contents: Contents) -> str:
    """Limits of every model of this kind, and the names that the vocabulary shows."""
    vocabulary = contents.path / "vocabulary.json"
    lines = list(_LIMITS)
    if vocabulary.is_file():
        names = read_json(vocabulary)
        counts = f"{len(names['events']) - 1:,} names of events and {len(names['locations']) - 1:,} of locations"
        lines.insert(0, f"`vocabulary.json` holds {counts} of the log: anyone who has the files can read them.")
    return "\n".join(f"- {line}" for line in lines)


def _license(identifier: str) -> str:
    if identifier == "other":
        return "Not given: ask the author before you use it."
    return f"{identifier}. The license of the training log may ask for more."


_USE = {
    "bundle": """```python
from edgebehave_train import from_pretrained  # or: edgebehave pull REPO_ID -o runs/bundle

predictor = from_pretrained("REPO_ID")
predictor.observe("me", "an event")
print(predictor.predict("me", k=3))
```

On a device: `edgebehave.Predictor.load(FOLDER)`, which needs numpy and onnxruntime alone.""",
    "checkpoint": """```python
from edgebehave_train import evaluate, from_pretrained

checkpoint = from_pretrained("REPO_ID")
print(evaluate(checkpoint, "runs/store").to_pandas())  # the store of the log that it was trained on
```

`edgebehave export` makes a bundle of it, `edgebehave transfer` a model of another log.""",
}
_PINNED = {
    "bundle": "With `digest=...`, `from_pretrained` and `Predictor.load` accept this bundle and no other.",
    "checkpoint": "With `digest=...`, `from_pretrained` accepts this checkpoint and no other.",
}
_INTENDED = (
    "To prefetch, to suggest and to order what a user may want next, for users whose events look like those of the "
    "log. Not to decide about people, and not to watch them."
)
_LIMITS = (
    "A prediction is p(behavior | the next behavior happens at the time asked for).",
    "For users of another log the figures above say nothing: measure it there first.",
    "Behaviors that are rare in the log are predicted less often than they come.",
    "What a model learned from its training users can be inferred in part; see SECURITY.md of edgebehave.",
)
