"""Ways to store a language model's graph in fewer bits: bytes, agreement with torch, time and memory.

    edgebehave llm export runs/llm -o runs/llm-onnx --store runs/store
    python research/quantize_language_model.py runs/llm runs/llm-onnx runs/store -o runs/quantized --prompts 200

Every way starts from the float32 graph of an export and reads the float32 prefix beside it. `rounded inputs`: both
sides of a product are integers; `float inputs`: weights alone are. Time is processor time of one thread; each way runs
in a process of its own, whose peak memory beyond its imports is given. Rows are kept in the folder, for a killed run.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgebehave_export.llm.onnx_language_model import OnnxLanguageModel
from edgebehave_export.quantization import quantize
from verbs import commit, peak_bytes

Make = Callable[[onnx.ModelProto], onnx.ModelProto]


def in_blocks(block: int, *, rounded: bool = True, kept: tuple[str, ...] = ()) -> Make:
    """8 bits, a scale for each block of inputs.

    kept  parts of the names of products whose inputs stay floats.
    """

    def make(proto: onnx.ModelProto) -> onnx.ModelProto:
        found = quantize(proto, in_blocks=True, block=block)
        for node in found.graph.node:
            if node.op_type == "MatMulNBits" and (not rounded or any(part in node.name for part in kept)):
                for attribute in node.attribute:
                    if attribute.name == "accuracy_level":
                        attribute.i = 1
        return found

    return make


def four_bits(block: int, *, rounded: bool = True, symmetric: bool = False) -> Make:
    """4 bits for products, 8 for the table of embeddings."""

    def make(proto: onnx.ModelProto) -> onnx.ModelProto:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(
            proto, bits=4, block_size=block, is_symmetric=symmetric, accuracy_level=4 if rounded else 1
        )
        quantizer.process()
        return quantize(quantizer.model.model, None, in_blocks=True, block=block)

    return make


WAYS: dict[str, Make] = {
    "float32": lambda proto: proto,
    "8 bits, a scale for an output and one for all inputs": quantize,
    "8 bits, blocks of 128, rounded inputs": in_blocks(128),
    "8 bits, blocks of 64, rounded inputs": in_blocks(64),
    "8 bits, blocks of 32, rounded inputs": in_blocks(32),
    "8 bits, blocks of 32, rounded inputs but down_proj": in_blocks(32, kept=("down_proj",)),
    "8 bits, blocks of 32, rounded inputs but lm_head": in_blocks(32, kept=("lm_head",)),
    "8 bits, blocks of 32, float inputs": in_blocks(32, rounded=False),
    "4 bits, blocks of 32, rounded inputs": four_bits(32),
    "4 bits, blocks of 32, float inputs": four_bits(32, rounded=False),
}


def measure(way: str, export: Path, out: Path, prompts: list[list[int]], candidates: list[list[int]]) -> None:
    """Write the graph of a way, score the prompts, and write scores and costs."""
    from edgebehave_export.llm.llm_onnx import GRAPHS, PREFIX, untied

    graph = out / way.replace(" ", "_").replace(",", "") / "model.onnx"
    if not graph.exists():
        graph.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(WAYS[way](untied(onnx.load(export / GRAPHS["fp32"]))), graph)
    queue: Any = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(
        target=_score, args=(graph, export / PREFIX, prompts, candidates, queue)
    )
    process.start()
    scores, seconds, peak = queue.get()
    process.join()
    costs = {"bytes": graph.stat().st_size, "seconds": seconds, "peak_bytes": peak}
    np.savez(graph.parent / "scores.npz", scores=scores)
    (graph.parent / "costs.json").write_text(json.dumps(costs))
    graph.unlink()  # hundreds of megabytes each


def _score(graph: Path, prefix: Path, prompts: list[list[int]], candidates: list[list[int]], queue: Any) -> None:
    before = peak_bytes()  # imports, which a device has not
    runner = OnnxLanguageModel(graph, prefix if prefix.exists() else None)
    runner.candidate_logprobs(prompts[:1], candidates)
    started = time.process_time()
    scores = runner.candidate_logprobs(prompts, candidates)
    seconds = (time.process_time() - started) / len(prompts)
    queue.put((scores, seconds, peak_bytes() - before))


def main() -> None:
    # Here, so that the process of a way imports less.
    from edgebehave_train.llm.evaluation.protocols import random_samples
    from edgebehave_train.llm.prompts.samples import log_samples
    from edgebehave_train.llm.scoring.candidates import candidate_logprobs
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM
    from edgebehave_train.logs.event_store import EventStore

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tuned", type=Path, help="tuned model, which answers in torch")
    parser.add_argument("export", type=Path, help="its export")
    parser.add_argument("store", type=Path, help="event store that it was tuned on")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tuned, store = TunedLLM.open(args.tuned), EventStore.open(args.store)
    model, tokenizer = tuned.load("cpu", "float32")
    encoder = tuned.encoder(model, tokenizer)
    samples = log_samples(store, "validation", tuned.config.split, tuned.vocabulary, tuned.config.prompt.history)
    asked = random_samples(samples, args.prompts, tuned.config.seed)
    prompts = [list(encoder.encode(sample).prompt_ids) for sample in asked]
    candidates = [list(tokens) for tokens in encoder.candidates]
    kept = args.out / f"torch-{args.prompts}.npz"
    if not kept.exists():
        np.savez(kept, scores=candidate_logprobs(model, prompts, candidates))
    del model
    expected = np.load(kept)["scores"][:, 1:]
    print("| | MB | agrees with torch | largest gap, nats | mean gap | s a question | peak MB |")
    print("|---" * 7 + "|")
    for way in args.ways:
        folder = args.out / way.replace(" ", "_").replace(",", "")
        if not (folder / "costs.json").exists() or len(np.load(folder / "scores.npz")["scores"]) != len(prompts):
            measure(way, args.export, args.out, prompts, candidates)
        scores, costs = np.load(folder / "scores.npz")["scores"][:, 1:], json.loads((folder / "costs.json").read_text())
        agrees, gap = int((scores.argmax(1) == expected.argmax(1)).sum()), np.abs(scores - expected)
        print(
            f"| {way} | {costs['bytes'] / 1e6:.0f} | {agrees} of {len(prompts)} | {gap.max():.2g} | {gap.mean():.2g} "
            f"| {costs['seconds']:.2f} | {costs['peak_bytes'] / 1e6:.0f} |",
            flush=True,
        )
    print(f"\ncommit {commit()}, data {store.fingerprint[:12]}, {len(candidates)} behaviors")


if __name__ == "__main__":
    main()
