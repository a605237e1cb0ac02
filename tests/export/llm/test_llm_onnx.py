"""Language models as ONNX: the graphs and their runner against torch, and what is refused."""

import json
from importlib import metadata

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebehave_export.llm import llm_onnx, onnx_language_model
from edgebehave_export.llm.llm_onnx import GRAPHS, HUGGING_FACE, export_language_model, require_optimum
from edgebehave_export.llm.onnx_language_model import OnnxLanguageModel
from edgebehave_train.llm.scoring.behavior_tokens import add_behavior_tokens, behavior_tokens
from edgebehave_train.llm.scoring.candidates import candidate_logprobs, score_candidates
from edgebehave_train.llm.scoring.language_model import LoraSettings, add_adapter, load_language_model

END = 2
ANSWERS = [[40, 41, END], [40, 41, 42, END], [40, END], [77, 41, 42, 99, END], [35], [END]]


def _optimum_runs():
    try:
        require_optimum()
    except ValueError as error:
        return str(error)
    return None


needs_optimum = pytest.mark.skipif(_optimum_runs() is not None, reason=str(_optimum_runs()))


def prompts_of(lengths):
    rng = np.random.default_rng(0)
    return [rng.integers(3, 120, length).tolist() for length in lengths]


@pytest.fixture(scope="module", params=["Llama", "Qwen2"])
def exported(request, tmp_path_factory, make_tiny_llm, byte_tokenizer):
    """(model, folder, report) of an export that was compared on 200 prompts."""
    model = make_tiny_llm(request.param)
    out = tmp_path_factory.mktemp("export") / "llm"
    prompts = prompts_of(np.random.default_rng(1).integers(1, 60, 200))
    report = export_language_model(model, byte_tokenizer, out, prompts=prompts, candidate_ids=ANSWERS)
    return model, out, report


@needs_optimum
def test_graphs_choose_as_torch_does(exported):
    _, out, report = exported
    assert report.num_prompts == 200
    assert report.graphs["fp32"].top1_agreement >= 0.99
    assert report.graphs["fp32"].largest_gap_nats < 1e-3
    # Random weights tell close calls apart that trained ones do not have: a rough bound.
    assert report.graphs["int8"].top1_agreement > 0.7
    assert report.graphs["int8"].model_bytes < report.graphs["fp32"].model_bytes
    assert json.loads((out / "export.json").read_text()) == report.to_json()
    assert report.versions["torch"] == torch.__version__


@needs_optimum
def test_the_folder_holds_the_model_with_its_adapters_merged(exported, byte_tokenizer):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, out, _ = exported
    folder = out / HUGGING_FACE
    merged = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    prompts = prompts_of([12, 30])
    expected = candidate_logprobs(model, prompts, ANSWERS)
    np.testing.assert_allclose(candidate_logprobs(merged, prompts, ANSWERS)[:, 1:], expected[:, 1:], atol=1e-3)
    with model.disable_adapter():
        plain = candidate_logprobs(model, prompts, ANSWERS)
    assert np.abs(plain - expected)[:, 1:].max() > 0.1  # the adapters are still there, and matter
    saved = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert saved.decode(byte_tokenizer("To work")["input_ids"]) == "To work"
    assert (folder / "model.safetensors").is_file()


@needs_optimum
def test_the_runner_equals_torch(exported, monkeypatch):
    model, out, _ = exported
    runner = OnnxLanguageModel(out / GRAPHS["fp32"])

    @settings(max_examples=20, deadline=None)
    @given(
        lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3),
        answers=st.lists(
            st.lists(st.integers(4, 7), max_size=4).map(lambda tokens: (*tokens, END)),
            min_size=1,
            max_size=12,
            unique=True,
        ),
        max_bytes=st.sampled_from([1, 1 << 15, 1 << 28]),
    )
    def check(lengths, answers, max_bytes):
        monkeypatch.setattr(onnx_language_model, "_MAX_BYTES", max_bytes)
        prompts = prompts_of(lengths)
        found = runner.candidate_logprobs(prompts, answers)
        expected = candidate_logprobs(model, prompts, answers)
        np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=1e-3)
        assert (found[:, 0] == -np.inf).all()

    check()
    prompts, seen = prompts_of([9, 20]), []
    probs = runner.score_candidates(prompts, ANSWERS, on_progress=lambda *at: seen.append(at))
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, score_candidates(model, prompts, ANSWERS), atol=1e-4)
    assert seen == [(1, 2), (2, 2)]
    assert runner.score_candidates([], ANSWERS).shape == (0, len(ANSWERS) + 1)


@needs_optimum
def test_a_kept_prefix_changes_no_score_and_is_read_by_both_graphs(exported, tmp_path):
    _, out, _ = exported
    shared, *others = prompts_of([20, 1, 9, 5])
    prompts = [shared + one for one in others] + [others[1]]  # the last one begins otherwise
    file = tmp_path / "prefix.npz"
    for precision, tolerance in (("fp32", 1e-4), ("int8", 0.3)):
        plain = OnnxLanguageModel(out / GRAPHS[precision]).score_candidates(prompts, ANSWERS)
        if precision == "fp32":
            OnnxLanguageModel(out / GRAPHS[precision]).write_prefix(shared, file)
        runner = OnnxLanguageModel(out / GRAPHS[precision], file)
        assert [runner.num_known(prompt) for prompt in prompts] == [20, 20, 20, 0]
        assert runner.num_known(shared) == 0  # a token must be left to run
        np.testing.assert_allclose(runner.score_candidates(prompts, ANSWERS), plain, atol=tolerance)


@needs_optimum
def test_a_prefix_that_is_damaged_or_of_another_model_is_refused(exported, tmp_path):
    _, out, _ = exported
    graph, file = out / GRAPHS["fp32"], tmp_path / "prefix.npz"
    OnnxLanguageModel(graph).write_prefix([5, 6, 7], file)
    whole = file.read_bytes()
    with np.load(file) as content:
        arrays = dict(content)
    first = next(name for name in arrays if name != "tokens")
    for content in (b"", whole[:50], whole[: len(whole) // 2], b"\x80\x02" + whole[2:]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is no prefix of this model"):
            OnnxLanguageModel(graph, file)
    for wrong in (arrays[first][:, :1, :, :2], arrays[first].astype(np.float64), arrays[first][:, :, 1:]):
        np.savez(file, **{**arrays, first: wrong})
        with pytest.raises(ValueError, match=rf"is no prefix of this model: {first} is .*; export the model again"):
            OnnxLanguageModel(graph, file)
    with pytest.raises(ValueError, match="is no prefix of this model"):
        OnnxLanguageModel(graph, tmp_path / "missing.npz")


@needs_optimum
@pytest.mark.parametrize("architecture", ["Llama", "Qwen2"])  # untied, tied
def test_tokens_of_behaviors_are_part_of_the_graphs(architecture, make_tiny_llm, byte_tokenizer, tmp_path):
    base = make_tiny_llm(architecture, lora=False)
    add_behavior_tokens(base, [[40, 41], [50], [60, 61]])
    model = add_adapter(base, LoraSettings(rank=2), seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.linspace(-0.3, 0.3, parameter.numel()).reshape(parameter.shape)
    candidates = [[token] for token in behavior_tokens(model)]
    prompts = prompts_of(np.random.default_rng(1).integers(1, 30, 40))
    report = export_language_model(model, byte_tokenizer, tmp_path / "llm", prompts=prompts, candidate_ids=candidates)
    assert report.graphs["fp32"].largest_gap_nats < 1e-3
    assert report.graphs["int8"].top1_agreement > 0.7
    merged, _ = load_language_model(tmp_path / "llm" / HUGGING_FACE, device="cpu")
    assert [[token] for token in behavior_tokens(merged)] == candidates
    expected = candidate_logprobs(model, prompts, candidates)
    np.testing.assert_allclose(candidate_logprobs(merged, prompts, candidates)[:, 1:], expected[:, 1:], atol=1e-3)


@needs_optimum
def test_int8_scores_of_a_prompt_do_not_depend_on_others(exported):
    runner = OnnxLanguageModel(exported[1] / GRAPHS["int8"])
    prompts = prompts_of([9, 20, 15])
    together = runner.score_candidates(prompts, ANSWERS)
    alone = np.concatenate([runner.score_candidates([prompt], ANSWERS) for prompt in prompts])
    assert (together == alone).all()


@needs_optimum
def test_a_large_table_that_the_head_shares_becomes_integers_twice(exported, tmp_path, monkeypatch):
    import onnx

    from edgebehave_export import quantization

    _, out, _ = exported
    monkeypatch.setattr(quantization, "LARGE", 100)
    llm_onnx.quantize_graph(out / GRAPHS["fp32"], tmp_path / "int8" / "model.onnx")
    proto = onnx.load(tmp_path / "int8" / "model.onnx")
    tables = [t for t in proto.graph.initializer if t.name == "model.embed_tokens.weight_int8"]
    assert [t.data_type for t in tables] == [onnx.TensorProto.UINT8]
    prompts = prompts_of([9, 20])
    found = OnnxLanguageModel(tmp_path / "int8" / "model.onnx").score_candidates(prompts, ANSWERS)
    fine = OnnxLanguageModel(out / GRAPHS["fp32"]).score_candidates(prompts, ANSWERS)
    np.testing.assert_allclose(found, fine, atol=0.3)
    assert (found.argmax(1) == fine.argmax(1)).all()


@needs_optimum
def test_a_graph_too_large_for_one_file_is_quantized_too(exported, tmp_path, monkeypatch):
    import onnx

    _, out, _ = exported
    monkeypatch.setattr(llm_onnx, "_LARGEST_PROTO", 0)
    llm_onnx.quantize_graph(out / GRAPHS["fp32"], tmp_path / "int8" / "model.onnx")
    prompts = prompts_of([9, 20])
    found = OnnxLanguageModel(tmp_path / "int8" / "model.onnx").score_candidates(prompts, ANSWERS)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    graph = onnx.load(tmp_path / "int8" / "model.onnx").graph
    assert "MatMulNBits" in {node.op_type for node in graph.node}


@needs_optimum
def test_a_graph_that_chooses_otherwise_is_not_written(exported, tmp_path, byte_tokenizer):
    model, out, _ = exported
    with pytest.raises(ValueError, match="110% are needed; nothing was written"):
        export_language_model(
            model,
            byte_tokenizer,
            tmp_path / "llm",
            prompts=prompts_of([9]),
            candidate_ids=ANSWERS,
            min_agreement=1.1,
        )
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="already holds an exported language model; use --overwrite"):
        export_language_model(model, byte_tokenizer, out, prompts=prompts_of([9]), candidate_ids=ANSWERS)
    with pytest.raises(ValueError, match="no prompts to compare"):
        export_language_model(model, byte_tokenizer, tmp_path / "llm", prompts=[], candidate_ids=ANSWERS)


@needs_optimum
def test_a_tuned_folder_is_exported_with_how_to_ask_it(tuned_llm, exported_llm, tiny_store):
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM

    report = json.loads((exported_llm / "export.json").read_text())
    assert report["graphs"]["fp32"]["top1_agreement"] >= 0.99
    assert report["num_prompts"] == 20
    again, tuned = TunedLLM.open(exported_llm), TunedLLM.open(tuned_llm)
    assert (again.names, again.config) == (tuned.names, tuned.config)
    assert again.vocabulary.behaviors == tuned.vocabulary.behaviors


@needs_optimum
def test_the_runner_refuses_what_it_cannot_score(exported, tmp_path):
    runner = OnnxLanguageModel(exported[1] / GRAPHS["fp32"])
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        runner.score_candidates([[5], []], ANSWERS)
    with pytest.raises(ValueError, match="at least one token"):
        runner.score_candidates([[5]], [[4], []])


def test_a_missing_or_newer_package_is_told_in_one_line(monkeypatch):
    def installed(versions):
        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(llm_onnx.metadata, "version", version)

    installed({"transformers": "5.23.0", "optimum-onnx": "0.1.0"})
    with pytest.raises(ValueError, match=r"below 4\.58, found 5\.23\.0; .*llm-onnx"):
        require_optimum()
    installed({"transformers": "4.57.6"})
    with pytest.raises(ValueError, match="needs optimum-onnx, which is not installed"):
        require_optimum()
    installed({"transformers": "4.57.6", "optimum-onnx": "0.1.0"})
    require_optimum()
