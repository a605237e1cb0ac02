"""The tiny model's graphs, exported once: that takes seconds."""

import pytest

from edgebehave_export.bundle import export_graphs
from edgebehave_export.quantization import quantize_graphs


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint):
    return tiny_checkpoint.load_model()


@pytest.fixture(scope="session")
def fp32_graphs(tiny_model):
    """ModelProtos by file name."""
    return export_graphs(tiny_model)


@pytest.fixture(scope="session")
def web_graphs(tiny_model):
    """In standard operators."""
    return export_graphs(tiny_model, "web")


@pytest.fixture(scope="session")
def int8_graphs(fp32_graphs):
    return quantize_graphs(fp32_graphs)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """Of language models here: every byte a token, so that it can spell everything."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<s>", "<end>"]
    tokens = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytes_only = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    bytes_only.add_special_tokens(specials)
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=bytes_only, pad_token="<pad>", eos_token="<end>")
    fast.chat_template = (
        "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}<end>"
        "{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    return fast


@pytest.fixture(scope="session")
def make_tiny_llm(byte_tokenizer):
    """A function that makes a tiny language model of an architecture.

    lora  with adapters that do something.
    Weights are larger than usual, so that attention matters.
    """

    def make(architecture, lora=True):
        import torch
        import transformers
        from peft import LoraConfig, get_peft_model

        config = getattr(transformers, f"{architecture}Config")(
            vocab_size=len(byte_tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=architecture == "Qwen2",
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(transformers, f"{architecture}ForCausalLM")(config).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter *= 8
            if not lora:
                return model
            lora = LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")
            return get_peft_model(model, lora).eval()

    return make


@pytest.fixture(scope="session")
def tuned_llm(tiny_store, make_tiny_llm, byte_tokenizer, tmp_path_factory):
    """A folder as `edgebehave llm tune` leaves it, with adapters that nothing was learned in."""
    from edgebehave_train.llm.prompts.behavior_names import readable_names
    from edgebehave_train.llm.prompts.samples import log_samples
    from edgebehave_train.llm.prompts.wording import PromptConfig
    from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
    from edgebehave_train.llm.tuning.tuned_llm import write_tuned_llm

    base = tmp_path_factory.mktemp("base")
    model = make_tiny_llm("Llama", lora=False)
    model.save_pretrained(base)
    byte_tokenizer.save_pretrained(base)
    config = BehaviorLMConfig(prompt=PromptConfig(history=5))
    train = log_samples(tiny_store, "train", config.split)
    tuned = write_tuned_llm(
        tmp_path_factory.mktemp("tuned") / "llm",
        base=str(base),
        model=model,
        config=config,
        vocabulary=train.vocabulary,
        names=readable_names(train.vocabulary),
        train_counts=train.train_counts,
        data_fingerprint=tiny_store.fingerprint,
        origin={},
    )
    tuned.save_adapter(make_tiny_llm("Llama"))
    stage = {"stage": "anchor", "num_samples": 0, "num_auxiliary": 0, "best_epoch": 1}
    return tuned.with_stages([{**stage, "validation_loss": [1.0]}], finished=True).path


@pytest.fixture(scope="session")
def exported_llm(tuned_llm, tiny_store, tmp_path_factory):
    """The same, exported."""
    from edgebehave_export.llm.llm_onnx import export_tuned_llm
    from edgebehave_train.llm.tuning.tuned_llm import TunedLLM

    out = tmp_path_factory.mktemp("exported") / "llm"
    export_tuned_llm(TunedLLM.open(tuned_llm), out, tiny_store, num_prompts=20)
    return out
