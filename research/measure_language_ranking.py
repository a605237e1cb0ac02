"""Time and memory of ranking many behaviors by an exported language model, with its prefix kept in a file and without.

    python research/measure_language_ranking.py runs/llm-onnx --behaviors 40 200

Behaviors are names of the simulator and of ATUS, histories are random, weights those of the export. The prefix is what
prompts share: the task and the list of behaviors. Processor time of one thread, the median of the calls; each way runs
in a process of its own, whose peak memory beyond its imports is given.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgebehave_export.llm.onnx_language_model import OnnxLanguageModel
from verbs import commit, peak_bytes

ATUS_NAMES = Path(__file__).with_name("atus_names.json")


def behavior_names(number: int) -> list[str]:
    """Names of everyday activities; more than there are get a place."""
    names: list[str] = list(json.loads(ATUS_NAMES.read_text()).values())
    for place in ("at home", "at work", "on the way"):
        names += [f"{name} {place}" for name in names[:102]]
    if number > len(names):
        raise SystemExit(f"there are {len(names)} names, asked for {number}")
    return names[:number]


def prompts_for(export: Path, number: int, calls: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and candidates of made-up samples in the tokens of the export."""
    import transformers

    from edgebehave.vocabulary import Vocabulary
    from edgebehave_export.llm.benchmark import made_up_samples
    from edgebehave_export.llm.llm_onnx import HUGGING_FACE
    from edgebehave_train.llm.prompts.behavior_names import readable_names
    from edgebehave_train.llm.prompts.encoding import ChatFormat, PromptEncoder
    from edgebehave_train.llm.prompts.wording import PromptConfig

    folder = export / HUGGING_FACE
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    context = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    vocabulary = Vocabulary.identity(behavior_names(number), ["home", "work"])
    encoder = PromptEncoder(ChatFormat(tokenizer), readable_names(vocabulary), PromptConfig(), context)
    prompts = [list(encoder.encode(sample).prompt_ids) for sample in made_up_samples(vocabulary, calls)]
    return prompts, [list(tokens) for tokens in encoder.candidates]


def _rank(graph: Path, prefix: Path | None, prompts: list[list[int]], candidates: list[list[int]], queue: Any) -> None:
    before = peak_bytes()
    started = time.process_time()
    runner = OnnxLanguageModel(graph, prefix)
    loaded, seconds = time.process_time() - started, []
    for prompt in prompts:
        started = time.process_time()
        runner.score_candidates([prompt], candidates)
        seconds.append(time.process_time() - started)
    queue.put((loaded, float(np.median(seconds)), peak_bytes() - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--behaviors", type=int, nargs="+", default=[40, 200])
    parser.add_argument("--precisions", nargs="+", default=["int8"], choices=["int8", "fp32"])
    parser.add_argument("--calls", type=int, default=10)
    args = parser.parse_args()
    from edgebehave_export.llm.llm_onnx import GRAPHS
    from edgebehave_train.llm.scoring.shared_prefix import shared_length

    context = multiprocessing.get_context("spawn")
    print("| behaviors | | tokens read | prefix, tokens | prefix, MB | load, s | s a ranking | peak MB |")
    print("|---" * 8 + "|")
    for number in args.behaviors:
        prompts, candidates = prompts_for(args.export, number, args.calls)
        shared = shared_length(prompts)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "prefix.npz"
            OnnxLanguageModel(args.export / GRAPHS["fp32"]).write_prefix(prompts[0][:shared], file)
            for precision in args.precisions:
                for prefix in (file, None):
                    queue: Any = context.Queue()
                    graph = args.export / GRAPHS[precision]
                    process = context.Process(target=_rank, args=(graph, prefix, prompts, candidates, queue))
                    process.start()
                    loaded, seconds, peak = queue.get()
                    process.join()
                    tokens = int(np.median([len(prompt) for prompt in prompts])) - (shared if prefix else 0)
                    size = f"{shared} | {file.stat().st_size / 1e6:.1f}" if prefix else "0 | 0"
                    print(
                        f"| {number} | {precision} | {tokens} | {size} | {loaded:.1f} | {seconds:.2f} "
                        f"| {peak / 1e6:.0f} |",
                        flush=True,
                    )
    print(f"\ncommit {commit()}, {args.calls} rankings each")


if __name__ == "__main__":
    main()
