"""`edgebehave train --blocks-from`: a network that begins as a language model."""

import pytest

pytest.importorskip("transformers", reason="transformers is not installed")
from typer.testing import CliRunner

from edgebehave_cli.app import app
from edgebehave_train.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Folder of a Llama with random weights, width 16, and a tokenizer of one word."""
    import tokenizers
    import transformers

    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    fast.save_pretrained(folder)
    return folder


def test_a_run_starts_from_it_and_the_result_is_a_checkpoint(llama, tiny_store, tmp_path):
    out = tmp_path / "started"
    command = ["train", str(tiny_store.path), "-o", str(out), "--blocks-from", str(llama)]
    settings = ["--epochs", "1", "--no-habits", "--set", "row_events=60"]
    result = CliRunner().invoke(app, command + settings)
    assert result.exit_code == 0, result.output
    checkpoint = Checkpoint.open(out)
    assert checkpoint.training.origin["blocks"] == "copied"
    assert (checkpoint.config.width, checkpoint.config.num_layers) == (16, 1)
    assert checkpoint.config.llama.num_kv_heads == 1


def test_fresh_blocks_need_the_model_whose_shape_they_have(tiny_store, tmp_path):
    command = ["train", str(tiny_store.path), "-o", str(tmp_path / "x"), "--fresh-blocks"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ValueError)
    assert "--fresh-blocks says how --blocks-from begins" in str(result.exception)
    assert not (tmp_path / "x").exists()
