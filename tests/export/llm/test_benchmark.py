"""Language model and edge model side by side: every row is there, and its FLOPs add up."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgebehave_export.bench.benchmark import BenchRow, BenchTable
from edgebehave_export.llm import llm_onnx
from edgebehave_export.llm.benchmark import benchmark_llm, edge_flops, llm_flops

ANSWERS = [[40, 41, 2], [40, 41, 42, 2], [40, 2], [77, 2]]


def _needs_optimum():
    try:
        llm_onnx.require_optimum()
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def edge_table():
    rows = [
        BenchRow(name=f"Predictor {precision}", p50_us=100.0, p99_us=200.0, count=7) for precision in ("fp32", "int8")
    ]
    return BenchTable(
        shape="",
        num_history=0,
        rows=rows,
        model_bytes={"fp32": 4000, "int8": 1000},
        state_bytes=0,
        resident_mb=0.0,
        top1_agreement=None,
        num_compared=0,
        warm_up=0,
        environment={},
    )


def test_an_export_has_a_row_for_each_way(exported_llm_or_skip, tiny_checkpoint, edge_table):
    table = benchmark_llm(exported_llm_or_skip, tiny_checkpoint.path, edge_table, num_calls=3)
    rows = {row.name: row for row in table.rows}
    assert list(rows) == [
        *("LLM, torch", "LLM, ONNX fp32", "LLM, ONNX int8"),
        *("edge, SDK fp32", "edge, SDK int8"),
    ]
    assert all(0 < row.p50_ms <= row.p99_ms and row.flops > 0 for row in table.rows)
    assert [row.count for row in table.rows] == [3, 3, 3, 7, 7]
    assert rows["LLM, ONNX int8"].model_bytes < rows["LLM, ONNX fp32"].model_bytes
    assert (rows["edge, SDK int8"].p50_ms, rows["edge, SDK int8"].model_bytes) == (0.1, 1000)
    assert json.loads(json.dumps(table.to_json()))["num_candidates"] == table.num_candidates
    assert "LLM, ONNX int8" in table.to_text()


@pytest.fixture
def exported_llm_or_skip(request):
    _needs_optimum()
    return request.getfixturevalue("exported_llm")


def test_a_tuned_folder_and_a_plain_one_have_a_row_of_torch(
    tuned_llm, make_tiny_llm, byte_tokenizer, tiny_checkpoint, edge_table, tmp_path
):
    make_tiny_llm("Qwen2", lora=False).save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    for folder in (tuned_llm, tmp_path):
        table = benchmark_llm(folder, tiny_checkpoint.path, edge_table, num_calls=1)
        assert [row.name for row in table.rows][:2] == ["LLM, torch", "edge, SDK fp32"]
    with pytest.raises(ValueError, match="is no language model; expected what"):
        benchmark_llm(tmp_path / "none", tiny_checkpoint.path, edge_table)
    with pytest.raises(ValueError, match="num_calls must be at least 1"):
        benchmark_llm(tmp_path, tiny_checkpoint.path, edge_table, num_calls=0)


def test_flops_by_hand(make_tiny_llm):
    model = make_tiny_llm("Llama", lora=False)
    # A layer: query and output 32 x 32, key and value 32 x 16, three of 32 x 64 in the MLP.
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    head = 32 * len(model.get_input_embeddings().weight)
    # Prompt of 5; nodes after its last token: 40, 40-41, 40-41-42 and 77, which see 1, 2, 3, 1.
    keys = (1 + 2 + 3 + 4 + 5) + 4 * 5 + (1 + 2 + 3 + 1)
    expected = 2 * weights * 9 + 2 * head * (1 + 5) + 4 * 2 * 32 * keys
    assert llm_flops(model, 5, ANSWERS) == expected
    # Answers of one token: the prompt alone, and the head once.
    assert llm_flops(model, 5, [[40], [41]]) == 2 * weights * 5 + 2 * head + 4 * 2 * 32 * (1 + 2 + 3 + 4 + 5)
    # Rows: 40-41-42 and 77; the head on every token.
    keys = (1 + 2 + 3 + 4 + 5) + 4 * 5 + (1 + 2 + 3 + 1)
    expected = 2 * weights * 9 + 2 * head * 9 + 4 * 2 * 32 * keys
    assert llm_flops(model, 5, ANSWERS, tree=False) == expected
    # Three tokens of the prompt ran before: the others see them, too.
    expected = 2 * weights * 6 + 2 * head * 6 + 4 * 2 * 32 * (keys - (1 + 2 + 3))
    assert llm_flops(model, 5, ANSWERS, tree=False, known_tokens=3) == expected


def test_flops_agree_with_what_torch_counts(make_tiny_llm):
    model = make_tiny_llm("Llama", lora=False)
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.ones(1, 64, dtype=torch.int64), use_cache=False)
    # One answer of one token has no rows: the prompt alone, head on every token. Torch multiplies
    # what the mask hides, too: twice the keys, less the diagonal; and rotary frequencies.
    hidden_keys = 64 * 63 / 2
    expected = llm_flops(model, 64, [[40]], tree=False) + 4 * 2 * 32 * hidden_keys
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)


def test_flops_of_layers_that_are_no_linear_ones_count():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4))
    weights = 2 * (4 + 8) * 32 * 32  # query, key, value, output; an MLP of four times the width
    expected = 2 * weights * 5 + 2 * 32 * 100 * 5 + 4 * 2 * 32 * (1 + 2 + 3 + 4 + 5)
    assert llm_flops(model, 5, [[40]], tree=False) == expected


def test_flops_of_an_edge_model_are_at_least_its_matrices(tiny_model):
    weights = sum(
        module.weight.numel() for module in tiny_model.blocks.modules() if isinstance(module, torch.nn.Linear)
    )
    assert 2 * weights < edge_flops(tiny_model) < 100 * weights


def test_the_verb_prints_both(tuned_llm, tiny_checkpoint, capsys, monkeypatch):
    from edgebehave_cli.bench import bench
    from edgebehave_export.bench import benchmark

    monkeypatch.setattr(benchmark, "_NUM_USERS", 3)
    monkeypatch.setattr(benchmark, "_SWEPT_BYTES", 8000)
    few = {"calls": 10, "warm_up": 0, "llm": tuned_llm, "llm_calls": 1}
    bench(tiny_checkpoint.path, json=True, **few)
    content = json.loads(capsys.readouterr().out)
    assert {"LLM, torch", "edge, SDK int8"} <= {row["name"] for row in content["llm"]["rows"]}
    assert "Predictor int8" in content["speedup"]
    bench(tiny_checkpoint.path, **few)
    assert "MFLOPs" in capsys.readouterr().out
