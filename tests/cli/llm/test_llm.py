"""`edgebehave llm VERB`, end to end with a tiny model on the small log."""

import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

QUICK = (
    *("--samples", "16", "--few-shot", "1", "--epochs", "1", "--device", "cpu"),
    *("--set", "max_validation=6", "--set", "selection.pool=1", "--set", "lora.rank=2"),
    *("--set", "prompt.history=2"),
)


def edgebehave(*arguments, code=0):
    """The command inside this process: importing transformers once is enough."""
    from edgebehave_cli.app import app

    done = CliRunner().invoke(app, [*map(str, arguments)])
    if code == 0 and done.exception is not None:
        raise done.exception
    assert (done.exit_code != 0) == (code != 0), done.output
    return done


def refusal(*arguments):
    return str(edgebehave(*arguments, code=1).exception)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Folder of a Llama with random weights and a tokenizer of letters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["behavior late Mon Tue Wed"] * 2, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<end>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    config = transformers.LlamaConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("base")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tuned(tiny_store, base, tmp_path_factory):
    """What `llm tune` leaves after both stages."""
    folder = tmp_path_factory.mktemp("llm") / "ab"
    edgebehave("llm", "tune", tiny_store.path, "--base", base, "-o", folder, *QUICK)
    return folder


def test_tune_goes_through_both_stages_and_goes_on_from_there(tiny_store, tuned, tmp_path):
    content = json.loads((tuned / "behaviorlm.json").read_text())
    assert [stage["stage"] for stage in content["stages"]] == ["anchor", "balanced"]
    assert content["config"]["selection"]["per_behavior"] == 1
    assert content["config"]["tuning"]["epochs"] == 1
    arguments = ("llm", "tune", tiny_store.path, "--base", tuned, "-o", tmp_path / "more")
    done = edgebehave(*arguments, "--few-shot", 2, "--selection", "uniform", "--json")
    content = json.loads(done.stdout)
    assert [stage["stage"] for stage in content["stages"]] == ["anchor", "balanced", "balanced"]
    assert content["config"]["selection"]["by"] == "uniform"
    assert content["config"]["prompt"]["history"] == 2


def test_evaluate_puts_rows_beside_each_other(tiny_store, base, tuned):
    rows = ("--zero-shot", "--resamples", 10)
    arguments = ("llm", "evaluate", tiny_store.path, tuned, *rows)
    table = edgebehave(*arguments, "--samples", 8).stdout
    for name in ("ab", "zero-shot", "habits"):
        assert f"| {name} " in table
    balanced = ("--protocol", "balanced", "--per-behavior", 1, "--test", "--json")
    content = json.loads(edgebehave(*arguments, *balanced).stdout)
    assert content["part"] == "test"
    assert content["rows"]["habits"]["reference_minus_this"]
    assert content["models"]["ab"]["stages"] == ["anchor", "balanced"]
    assert len(json.loads((tuned / "metrics.json").read_text())["test_reads"]) == 1


def test_evaluate_has_rows_for_edge_models_and_refuses_early(tiny_store, tuned, tmp_path):
    small = ("--preset", "tiny", "--epochs", 1, "--set", "width=32", "--set", "window=12")
    train = ("train", tiny_store.path, *small, "-o")
    edgebehave(*train, tmp_path / "edge", "--split", "user", "--set", "split.train=0.8")
    evaluate = ("llm", "evaluate", tiny_store.path, tuned, "--no-habits", "--edge")
    few = ("--samples", 8, "--resamples", 10, "--json")
    content = json.loads(edgebehave(*evaluate, tmp_path / "edge", *few).stdout)
    assert list(content["rows"]) == ["ab", "edge"]
    assert content["num_samples"] == 8
    recall, low, high = content["rows"]["edge"]["metrics"]["weighted_recall"]
    assert 0 <= low <= recall <= high <= 1
    edgebehave(*train, tmp_path / "by_time")
    # Before a language model is asked, and so before a reading of the test part is noted.
    readings = [file.read_bytes() for file in tuned.glob("metrics.json")]
    by_time = refusal(*evaluate, tmp_path / "by_time", "--test")
    assert "do not share vocabulary and split" in by_time
    assert readings == [file.read_bytes() for file in tuned.glob("metrics.json")]
    (tmp_path / "edge").rename(tmp_path / "habits")
    assert "two rows would be called 'habits'" in refusal(*evaluate, tmp_path / "habits")


def test_predict_ranks_behaviors(tiny_store, tuned):
    arguments = ("llm", "predict", tuned, "-s", tiny_store.path, "--user", "user_3", "-k", 4)
    ranking = json.loads(edgebehave(*arguments, "--json").stdout)
    probabilities = [one["probability"] for one in ranking]
    assert len(ranking) == 4
    assert probabilities == sorted(probabilities, reverse=True)
    assert ranking[0]["behavior"] in edgebehave(*arguments).stdout
    at = ("--at", "2026-05-01T08:00+02:00")
    assert json.loads(edgebehave(*arguments, *at, "--json").stdout) != ranking
    assert "no user 'nobody'" in refusal(*arguments[:-3], "nobody")


def test_export_writes_merged_weights(tuned, tmp_path):
    import transformers

    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM

    out = tmp_path / "merged"
    edgebehave("llm", "export", tuned, "-o", out, "--no-onnx")
    model = transformers.AutoModelForCausalLM.from_pretrained(out / "huggingface")
    assert not any("lora" in name for name, _ in model.named_parameters())
    candidates = json.loads((out / "candidates.json").read_text())["candidate_ids"]
    assert len(candidates) == len(json.loads((out / "vocabulary.json").read_text())["behaviors"]) - 1
    with pytest.raises(ValueError, match="is an export, whose adapters are merged"):
        TunedLLM.open(out).load("cpu")
    assert "give --store, or --no-onnx" in refusal("llm", "export", tuned, "-o", tmp_path / "x")
    again = ("llm", "export", tuned, "--no-onnx", "-o")
    assert "already holds an exported language model; use --overwrite" in refusal(*again, out)
    # What is no export is never replaced, least of all the adapters.
    assert "not part of an exported language model" in refusal(*again, tuned, "--overwrite")
    assert (tuned / "adapter").is_dir()
    (out / "candidates.json").unlink()
    edgebehave(*again, out, "--overwrite")
    assert (out / "candidates.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_export_writes_graphs_that_agree_with_torch(tiny_store, tuned, tmp_path):
    from edgebehave_export.llm.llm_onnx import GRAPHS, require_optimum

    try:
        require_optimum()
    except ValueError as error:
        pytest.skip(str(error))
    out = tmp_path / "onnx"
    arguments = ("llm", "export", tuned, "-o", out, "--store", tiny_store.path, "--prompts", 5)
    report = json.loads(edgebehave(*arguments, "--json").stdout)
    assert report["graphs"]["fp32"]["top1_agreement"] == 1
    assert all((out / graph).is_file() for graph in GRAPHS.values())
    assert (out / "behaviorlm.json").is_file()


def test_what_is_not_finished_is_not_measured(tiny_store, tuned, tmp_path):
    """Killed in its second stage, a model would pass for what it was to become."""
    shutil.copytree(tuned, tmp_path / "half")
    file = tmp_path / "half" / "behaviorlm.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"finished": False}))
    half, store = tmp_path / "half", tiny_store.path
    for verb in (
        ("evaluate", store, half),
        ("predict", half, "-s", store, "--user", "user_3"),
        ("export", half, "-o", tmp_path / "out", "--no-onnx"),
    ):
        assert "half is not finished; go on with it by" in refusal("llm", *verb)


def test_mistakes_are_one_line(tiny_store, base, tuned, tmp_path):
    tune = ("llm", "tune", tiny_store.path, "-o", tmp_path / "out")
    assert "--base is missing" in refusal(*tune)
    assert "leave --seed out" in refusal(*tune, "--resume", "--seed", 3)
    assert "is not a tuned language model" in refusal(*tune, "--resume")
    assert "there is no folder" in refusal(*tune, "--base", tmp_path / "none")
    assert "stages must be some of" in refusal(*tune, "--base", base, "--stages", "a")
    assert "there is no setting 'lora.size'" in refusal(*tune, "--base", base, "--set", "lora.size=2")
    assert "auxiliary_ratio must lie" in refusal(*tune, "--base", base, "--auxiliary-ratio", 1)
    resume = ("llm", "tune", tiny_store.path, "-o", tuned, "--resume")
    assert "is finished" in refusal(*resume)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["tune", "evaluate", "predict", "export"])
def test_help_has_an_example(verb):
    text = edgebehave("llm", verb, "--help").stdout
    assert f"edgebehave llm {verb}" in text.split("Example")[1]


def test_help_needs_neither_torch_nor_transformers():
    code = (
        "import sys, edgebehave_cli.app as a\n"
        "try: a.app(['llm', 'tune', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
