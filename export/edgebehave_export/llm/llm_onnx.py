"""Export of a language model to files that run without the code that tuned it.

    huggingface/   the model with its adapters merged, safetensors, and its tokenizer; tokens of behaviors, where it
                   answers with these, are its last ones
    onnx/          the same as a graph with a key/value cache, float32
    onnx-int8/     the same graph with integer weights
    prefix.npz     keys and values of the tokens with which all prompts begin, if they do; for both graphs
    export.json    sizes, versions, and how often each graph agreed with torch

and, of a model that was tuned here:

    behaviorlm.json   its description: prompts, readable names, stages
    vocabulary.json   names and their ids
    candidates.json   the answer of each behavior in token ids, entry c is behavior c + 1

optimum writes the graph; it needs transformers below 4.58 (extra `llm-onnx`). A graph is written only if it
prefers the candidates that torch prefers.
"""

import copy
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave_export.graphs.graph_builder import errors_only
from edgebehave_export.llm.onnx_language_model import OnnxLanguageModel
from edgebehave_train.files import names_in, replaced_folder, write_json
from edgebehave_train.llm.evaluation.protocols import random_samples
from edgebehave_train.llm.prompts.samples import log_samples
from edgebehave_train.llm.scoring.candidates import candidate_logprobs
from edgebehave_train.llm.scoring.language_model import merge_adapter
from edgebehave_train.llm.scoring.shared_prefix import shared_length
from edgebehave_train.llm.tuning.tuned_llm import DESCRIPTION_FILE, TunedLLM
from edgebehave_train.logs.event_store import EventStore

HUGGING_FACE = "huggingface"
GRAPHS = {"fp32": "onnx/model.onnx", "int8": "onnx-int8/model.onnx"}
"""The graph of each precision in an exported folder."""

PREFIX = "prefix.npz"
"""The file of the shared prefix in an exported folder."""

_EXPORTED = {
    *(HUGGING_FACE, "onnx", "onnx-int8", PREFIX, "export.json"),
    *("behaviorlm.json", "vocabulary.json", "candidates.json"),
}
_BLOCK = 32  # inputs that share a scale, see docs/experiments.md
_LARGEST_PROTO = 1_500_000_000  # bytes; protobuf ends at 2 GiB


@dataclass(frozen=True, kw_only=True)
class GraphReport:
    """Comparison of a graph with torch.

    model_bytes       of graph and weights.
    top1_agreement    share of prompts after which both prefer the same behavior.
    largest_gap_nats  of a candidate's log-probability.
    """

    model_bytes: int
    top1_agreement: float
    largest_gap_nats: float


@dataclass(frozen=True, kw_only=True)
class LanguageModelExport:
    """The content of export.json.

    num_prompts   that were compared.
    prefix_tokens  tokens of the prefix, 0 without one; prefix_bytes of its file.
    torch_bytes   of the merged weights.
    graphs        by precision.
    versions      of the packages that took part.
    """

    num_prompts: int
    prefix_tokens: int
    prefix_bytes: int
    torch_bytes: int
    graphs: dict[str, GraphReport]
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_language_model(
    model: Any,
    tokenizer: Any,
    out: Path,
    *,
    prompts: Sequence[Sequence[int]],
    candidate_ids: Sequence[Sequence[int]],
    min_agreement: float = 0.995,
    report: Callable[[str], None] = lambda line: None,
) -> LanguageModelExport:
    """Write a folder with the merged model, its graph and its int8 graph.

    model          a Hugging Face causal language model, adapters of PEFT or none; stays as it is.
    prompts        token ids on which the graphs are compared with torch; 200 are enough.
    candidate_ids  candidate c is the answer for behavior c + 1.
    min_agreement  share of prompts on which the float32 graph must prefer what torch prefers. int8
                   is reported and never refused.
    Raises ValueError if `out` may not be replaced, if there are no prompts, if optimum is missing
    or does not fit the installed transformers, and if the graph disagrees.
    """
    require_optimum()
    if not len(prompts):
        raise ValueError("no prompts to compare the graphs with torch on; give at least one")
    with export_folder(out, overwrite=False) as made:
        report("merging adapters")
        save_merged(model, tokenizer, made / HUGGING_FACE)
        report("writing the ONNX graph")
        write_graph(made / HUGGING_FACE, made / GRAPHS["fp32"])
        report("quantizing it to int8")
        quantize_graph(made / GRAPHS["fp32"], made / GRAPHS["int8"])
        shared = shared_length(prompts) if len(prompts) > 1 else 0
        prefix = made / PREFIX if shared else None
        if prefix:
            OnnxLanguageModel(made / GRAPHS["fp32"]).write_prefix(prompts[0][:shared], prefix)
        report(f"comparing with torch on {len(prompts)} prompts")
        expected = candidate_logprobs(model, prompts, candidate_ids)
        graphs = {}
        for precision, graph in GRAPHS.items():
            found = OnnxLanguageModel(made / graph, prefix).candidate_logprobs(prompts, candidate_ids)
            graphs[precision] = GraphReport(
                model_bytes=_bytes_of((made / graph).parent.glob("model.onnx*")),
                top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()),
                largest_gap_nats=float(np.abs(found[:, 1:] - expected[:, 1:]).max()),
            )
        agreed = graphs["fp32"].top1_agreement
        if agreed < min_agreement:
            raise ValueError(
                f"the ONNX graph prefers what torch prefers after {agreed:.1%} of "
                f"{len(prompts)} prompts, {min_agreement:.0%} are needed; nothing was written"
            )
        result = LanguageModelExport(
            num_prompts=len(prompts),
            prefix_tokens=shared,
            prefix_bytes=prefix.stat().st_size if prefix else 0,
            torch_bytes=_bytes_of((made / HUGGING_FACE).glob("*.safetensors")),
            graphs=graphs,
            versions={name: metadata.version(name) for name in _PACKAGES},
        )
        write_json(made / "export.json", result.to_json())
    return result


def export_tuned_llm(
    tuned: TunedLLM,
    out: Path,
    store: EventStore | None,
    *,
    num_prompts: int = 200,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a tuned model into a folder that needs neither its base nor the log.

    store        the log that the model was tuned on, on whose validation users the graphs are
                 compared with torch; None: merged weights alone, no graphs.
    num_prompts  so many of their samples, drawn uniformly.
    Returns      what export.json holds; {} without graphs.
    Raises ValueError if the model is not finished, `out` may not be replaced, or a graph disagrees
    with torch.
    """
    tuned.require_finished()
    result: dict[str, Any] = {}
    if store is not None:
        require_optimum()
        tuned.require_log(store)
    with export_folder(out, overwrite) as made:
        model, tokenizer = tuned.load("cpu", "float32")
        encoder = tuned.encoder(model, tokenizer)
        if store is None:
            save_merged(model, tokenizer, made / HUGGING_FACE)
        else:
            split, history = tuned.config.split, tuned.config.prompt.history
            samples = log_samples(store, "validation", split, tuned.vocabulary, history)
            asked = random_samples(samples, num_prompts, tuned.config.seed)
            result = export_language_model(
                model,
                tokenizer,
                made,
                prompts=[encoder.encode(sample).prompt_ids for sample in asked],
                candidate_ids=encoder.candidates,
                report=report,
            ).to_json()
        for name in (DESCRIPTION_FILE, "vocabulary.json"):
            shutil.copy(tuned.path / name, made / name)
        write_json(made / "candidates.json", {"candidate_ids": encoder.candidates})
    return result


def export_folder(out: Path, overwrite: bool) -> AbstractContextManager[Path]:
    """A folder to write an export into; in the end, and not before, it takes the place of `out`.

    Raises ValueError if `out` may not be replaced: without `overwrite`, and if it holds anything
    that an export does not, such as the adapters of the tuned model itself.
    """
    return replaced_folder(
        out,
        "an exported language model",
        lambda folder: names_in(folder) - _EXPORTED,
        instead="" if overwrite else "use --overwrite",
    )


_PACKAGES = ("transformers", "optimum-onnx", "torch", "onnx", "onnxruntime")


def require_optimum() -> None:
    """Raises ValueError, saying what to install, if optimum cannot export here."""
    advice = 'install it into an environment of its own: pip install "edgebehave[cpu,llm-onnx]"'
    try:
        version = metadata.version("transformers")
        metadata.version("optimum-onnx")
    except metadata.PackageNotFoundError as error:
        raise ValueError(f"the ONNX export needs {error.name}, which is not installed; {advice}") from None
    if tuple(int(part) for part in version.split(".")[:2]) >= (4, 58):
        raise ValueError(f"the ONNX export needs transformers below 4.58, found {version}; {advice}")


def save_merged(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a Hugging Face folder in which adapters have become part of the weights.

    The model itself keeps its adapters. Needs memory for a second copy of it.
    """
    merged = merge_adapter(copy.deepcopy(model))
    merged.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def write_graph(source: Path, graph: Path) -> None:
    """The ONNX graph of a Hugging Face folder, float32, with a key/value cache."""
    from optimum.exporters.onnx import main_export

    with errors_only(), warnings.catch_warnings(action="ignore"):  # tracing warns of branches
        main_export(
            str(source),
            output=graph.parent,
            task="text-generation-with-past",
            dtype="fp32",
            local_files_only=True,
            do_validation=False,  # the comparison with torch that follows says more
        )


def quantize_graph(graph: Path, quantized: Path) -> None:
    """The int8 form of a graph: weights and inputs of products as integers, a scale for each block of inputs.

    Llama's inputs have single numbers hundreds of times as large as the others. One scale for all inputs of a product
    rounds the others to nothing; in blocks the large ones spoil their own block alone.

    A graph too large for one protobuf goes through ONNX Runtime's own quantizer, from file to file, and
    keeps its embeddings as floats.
    """
    quantized.parent.mkdir(parents=True, exist_ok=True)
    if _bytes_of(graph.parent.glob(f"{graph.name}*")) <= _LARGEST_PROTO:
        import onnx

        from edgebehave_export.quantization import quantize

        onnx.save(quantize(untied(onnx.load(graph)), in_blocks=True, block=_BLOCK), quantized)
        return
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with errors_only():
        quantizer = MatMulNBitsQuantizer(str(graph), bits=8, block_size=_BLOCK, is_symmetric=True, accuracy_level=4)
        quantizer.process()
        quantizer.model.save_model_to_file(str(quantized), use_external_data_format=True)


def untied(proto: Any) -> Any:
    """The graph itself, in which a head that shared the embedding table has a matrix of its own.

    As floats both can share a table. As integers the table has a scale per token, and the head multiplies in
    integers, which needs scales of its own.
    """
    from onnx import numpy_helper

    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        if node.input[0] in tensors:
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            turned = np.transpose(numpy_helper.to_array(tensors[node.input[0]]), order)
            matrix = numpy_helper.from_array(np.ascontiguousarray(turned), node.output[0])
            graph.initializer.append(matrix)
            graph.node.remove(node)
    return proto


def _bytes_of(files: Any) -> int:
    return sum(file.stat().st_size for file in files)
