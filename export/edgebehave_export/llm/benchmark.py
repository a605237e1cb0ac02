"""Cost of a prediction by a language model and by the edge model.

One prediction gives the probabilities of the known behaviors. The language model reads a prompt and
scores every candidate (torch: as a tree, ONNX: as rows over the prompt's cache, which begins with the export's
shared prefix); the edge model takes in
one event and answers, as in `edgebehave_export.bench.benchmark`. All of it on one thread.

    FLOPs = 2 x weights that multiply x tokens                   every matrix but the head's
          + 2 x width x vocabulary x tokens that are scored      the head
          + 4 x layers x width x keys seen                       attention: scores and values

A token sees the prompt before it, or all of the prompt and what its candidate said before. The edge
model's are its matrix products as torch counts them: one event with a full cache, one answer.
"""

# L layers, D width of attention (heads x head width), W vocabulary, T tokens, S past behaviors

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgebehave.habits import HABIT_EVENTS
from edgebehave.vocabulary import Vocabulary
from edgebehave_export.bench.benchmark import BenchTable, one_thread
from edgebehave_export.bench.model_answer import ModelAnswer
from edgebehave_export.graphs.web_observe import Observe
from edgebehave_export.llm.llm_onnx import GRAPHS, HUGGING_FACE, PREFIX
from edgebehave_export.llm.onnx_language_model import OnnxLanguageModel, longest_beginnings
from edgebehave_train.llm.prompts.behavior_names import readable_names
from edgebehave_train.llm.prompts.encoding import ChatFormat, PromptEncoder
from edgebehave_train.llm.prompts.samples import NUM_HISTORY, PastBehavior, Sample
from edgebehave_train.llm.prompts.wording import PromptConfig
from edgebehave_train.llm.scoring.candidate_trie import candidate_tries
from edgebehave_train.llm.scoring.candidates import score_candidates
from edgebehave_train.llm.scoring.language_model import (
    context_length,
    load_language_model,
    merge_adapter,
)
from edgebehave_train.llm.tuning.tuned_llm import DESCRIPTION_FILE, TunedLLM
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.checkpoint import Checkpoint

_NUM_PROMPTS = 10
TORCH = "LLM, torch"


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One contender: latency of a prediction, its FLOPs, and the bytes of its weights or graphs."""

    name: str
    p50_ms: float
    p99_ms: float
    flops: float
    model_bytes: int
    count: int


@dataclass(frozen=True, kw_only=True)
class LlmBenchTable:
    """Language model and edge model, a row for each way to run them.

    parameters      of the language model.
    prompt_tokens   median over the prompts that were timed.
    num_candidates  behaviors that are scored.
    """

    parameters: int
    prompt_tokens: int
    num_candidates: int
    rows: list[CostRow]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """The table as text."""
        heading = (
            f"{self.parameters / 1e6:,.1f} M parameters, {self.prompt_tokens} prompt tokens, "
            f"{self.num_candidates} candidates, one thread"
        )
        lines = [
            heading,
            f"{'':<22}{'p50 ms':>11}{'p99 ms':>11}{'MFLOPs':>14}{'MB':>10}{'calls':>7}",
        ]
        lines += [
            f"{row.name:<22}{row.p50_ms:>11.3f}{row.p99_ms:>11.3f}{row.flops / 1e6:>14,.2f}"
            f"{row.model_bytes / 1e6:>10.2f}{row.count:>7}"
            for row in self.rows
        ]
        return "\n".join(lines)


def benchmark_llm(folder: Path, checkpoint: Path, edge: BenchTable, num_calls: int = 20) -> LlmBenchTable:
    """Time a language model on prompts of the checkpoint's behaviors, beside the edge model.

    folder      an export of `export_language_model` (torch and both graphs), a tuned language
                model or any Hugging Face folder (torch alone).
    checkpoint  of the edge model; its vocabulary gives the candidates, unless the language model
                was tuned and has its own.
    edge        what `benchmark` measured for it.
    num_calls   of each way, in turns, after one that is not counted.
    Raises ValueError if the folder is none of these, or prompts do not fit the model's context.
    """
    if num_calls < 1:
        raise ValueError(f"num_calls must be at least 1, got {num_calls}")
    opened = Checkpoint.open(checkpoint)
    model, encoder, vocabulary, graphs = _open(folder, opened.vocabulary)
    samples = made_up_samples(vocabulary, _NUM_PROMPTS)
    prompts = [list(encoder.encode(sample).prompt_ids) for sample in samples]
    candidates = encoder.candidates
    contenders: dict[str, Callable[[list[int]], object]] = {
        TORCH: lambda prompt: score_candidates(model, [prompt], candidates)
    }

    def onnx_call(runner: OnnxLanguageModel) -> Callable[[list[int]], object]:
        return lambda prompt: runner.score_candidates([prompt], candidates)

    prefix = folder / PREFIX if (folder / PREFIX).is_file() else None
    runners = {name: OnnxLanguageModel(graph, prefix) for name, graph in graphs.items()}
    contenders |= {name: onnx_call(runner) for name, runner in runners.items()}
    with one_thread():
        seconds = _in_turns(contenders, prompts, num_calls)
    length = int(np.median([len(prompt) for prompt in prompts]))
    model_bytes = {TORCH: sum(weight.numel() * weight.element_size() for weight in model.parameters())}
    for name, graph in graphs.items():  # weights may lie in a file beside the graph
        model_bytes[name] = sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
    rows = []
    for name, times in seconds.items():
        p50, p99 = np.percentile(times, [50, 99]) * 1e3
        known = runners[name].num_known(prompts[0]) if name in runners else 0
        flops = llm_flops(model, length, candidates, tree=name == TORCH, known_tokens=known)
        sizes = {"flops": flops, "model_bytes": model_bytes[name]}
        rows.append(CostRow(name=name, p50_ms=float(p50), p99_ms=float(p99), count=num_calls, **sizes))
    return LlmBenchTable(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        prompt_tokens=length,
        num_candidates=len(candidates),
        rows=[*rows, *_edge_rows(opened, edge)],
    )


def llm_flops(
    model: Any,
    prompt_tokens: int,
    candidate_ids: Sequence[Sequence[int]],
    tree: bool = True,
    known_tokens: int = 0,
) -> float:
    """FLOPs of one prediction, by the formula at the top of this module.

    tree          as `score_candidates` runs it; else as `OnnxLanguageModel` does: rows, and the head
                  on every token.
    known_tokens  of the prompt, whose keys and values are there already.
    """
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    weights = [
        getattr(module, "weight", None)
        for module in model.modules()
        if module is not head and not isinstance(module, torch.nn.Embedding)
    ]
    # Linear layers, and those of GPT-2, which are of a class of its own; not the norms.
    multiplying = sum(weight.numel() for weight in weights if weight is not None and weight.ndim == 2)
    head_weights = head.weight.numel()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    keys = (prompt_tokens * (prompt_tokens + 1) - known_tokens * (known_tokens + 1)) / 2
    if tree:
        depth = candidate_tries(candidate_ids)[0].depth_N
        extra, seen = len(depth) - 1, int(depth.sum())  # node 0 is the prompt's last token
        scored = 1 + len(depth) if extra else 1  # before a tree torch computes the last logits of the prefill, too
    else:
        lengths = [len(row) for row in longest_beginnings(candidate_ids)]
        extra = sum(lengths)
        seen = sum(length * (length + 1) // 2 for length in lengths)
        scored = prompt_tokens - known_tokens + extra
    tokens = prompt_tokens - known_tokens + extra
    keys += extra * prompt_tokens + seen
    return float(2 * multiplying * tokens + 2 * head_weights * scored + 4 * config.num_hidden_layers * width * keys)


def made_up_samples(vocabulary: Vocabulary, number: int) -> list[Sample]:
    """Samples with full histories of random behaviors, a few hours apart.

    Real samples would take the same time.
    """
    rng = np.random.default_rng(0)
    samples = []
    for i in range(number):
        hours = np.cumsum(rng.integers(1, 6, NUM_HISTORY + 1))
        behaviors = rng.integers(1, vocabulary.num_behaviors, NUM_HISTORY + 1).tolist()
        locations = rng.integers(0, vocabulary.num_locations, NUM_HISTORY + 1).tolist()
        past = [
            PastBehavior(
                weekday=int(hour // 24 % 7),
                hour=int(hour % 24),
                location=vocabulary.locations[location] if location else None,
                behavior=behavior,
            )
            for hour, location, behavior in zip(hours, locations, behaviors, strict=True)
        ]
        now = past.pop()
        samples.append(
            Sample(
                event=i,
                user=i,
                history=past,
                weekday=now.weekday,
                hour=now.hour,
                location=now.location,
                behavior=now.behavior,
            )
        )
    return samples


def _open(folder: Path, vocabulary: Vocabulary) -> tuple[Any, PromptEncoder, Vocabulary, dict[str, Path]]:
    """The model with merged adapters, its prompt encoder, the vocabulary of its behaviors, and graphs by row."""
    is_tuned, is_export = ((folder / name).exists() for name in (DESCRIPTION_FILE, HUGGING_FACE))
    source = folder / HUGGING_FACE if is_export else folder
    if is_tuned and not is_export:
        model, tokenizer = TunedLLM.open(folder).load("cpu", "float32")
        model = merge_adapter(model)
    elif (source / "config.json").is_file():
        model, tokenizer = load_language_model(source, device="cpu", precision="float32")
    else:
        raise ValueError(
            f"{folder} is no language model; expected what `edgebehave llm tune` or `edgebehave "
            "llm export` writes, or a Hugging Face folder"
        )
    graphs = {f"LLM, ONNX {precision}": folder / graph for precision, graph in GRAPHS.items()}
    there = {name: graph for name, graph in graphs.items() if graph.is_file()}
    if is_tuned:
        tuned = TunedLLM.open(folder)
        return model, tuned.encoder(model, tokenizer), tuned.vocabulary, there
    context = context_length(model) or 1 << 30
    names = readable_names(vocabulary)
    encoder = PromptEncoder(ChatFormat(tokenizer), names, PromptConfig(), context)
    return model, encoder, vocabulary, there


def _in_turns(
    contenders: Mapping[str, Callable[[list[int]], object]],
    prompts: Sequence[list[int]],
    num_calls: int,
) -> dict[str, list[float]]:
    """Seconds of each call, by contender; one call of each before is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        call(max(prompts, key=len))
    for i in range(num_calls):
        for name, call in contenders.items():
            started = time.perf_counter()
            call(prompts[i % len(prompts)])
            seconds[name].append(time.perf_counter() - started)
    return seconds


def _edge_rows(opened: Checkpoint, edge: BenchTable) -> list[CostRow]:
    flops = edge_flops(opened.load_model())
    by_name = {row.name: row for row in edge.rows}
    rows = []
    for precision, model_bytes in edge.model_bytes.items():
        row = by_name[f"Predictor {precision}"]
        times = {"p50_ms": row.p50_us / 1e3, "p99_ms": row.p99_us / 1e3}
        name = f"edge, SDK {precision}"
        rows.append(CostRow(name=name, **times, flops=flops, model_bytes=model_bytes, count=row.count))
    return rows


def edge_flops(model: BehaviorModel) -> float:
    """FLOPs of one event with a full cache and one answer from a full history."""
    config = model.config
    one, some = torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    head_width = config.width // config.num_heads
    cached = (2 * config.num_layers, config.window - 1, config.num_heads, head_width)
    answer = ModelAnswer(model, np.ones((4, HABIT_EVENTS), np.int64), (1, 1))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Observe(model).eval()(one, some, one, some, torch.tensor(0), torch.zeros(cached))
        answer(torch.zeros(1, config.width))
    return float(counter.get_total_flops())
