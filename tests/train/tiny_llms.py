"""Tiny language models of two architectures, with tokenizers that can spell everything."""

import pytest

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as many small instruct models speak it."""

MAX_POSITIONS = 2048

_TEXT = """You predict what a person does next. The behaviors are: behavior, late, event, home,
work, gym, shop, park, cafe, bar. Monday Tuesday Wednesday Thursday Friday Saturday Sunday
Mon Tue Wed Thu Fri Sat Sun 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20 21 22 23
Name exactly one of them. What happens next, given the past of this person and the moment?
Candidates Past Now Answer History Next weekday hour place reading books, editing video, paying,
taking photos, listening to music, the of and a to in is you that it for on with as at be this."""


@pytest.fixture(scope="session")
def make_tokenizer():
    """A function that returns a tokenizer: byte-level BPE, so that no text is unknown to it.

    chat_template  None: a base model's tokenizer, without one.
    eos_token      ends a text; None: the tokenizer has none.
    """

    def make(chat_template=CHAT_TEMPLATE, eos_token="<|im_end|>"):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=500,
            # The last one transformers 5 would add by itself to whatever a Qwen2 comes with.
            special_tokens=["<pad>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_TEXT.splitlines(), trainer)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token=eos_token)
        fast.chat_template = chat_template
        return fast

    return make


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer):
    """The tokenizer of the tiny models, with a chat template."""
    return make_tokenizer()


def _save_tiny(architecture, tokenizer, folder, **changes):
    import torch
    import transformers

    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **changes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{architecture}ForCausalLM")(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tokenizer, tmp_path_factory):
    """Folder of a Llama with random weights and its tokenizer: 2 layers, width 32."""
    return _save_tiny("Llama", tokenizer, tmp_path_factory.mktemp("tiny_llama"))


@pytest.fixture(scope="session")
def tiny_qwen2(tokenizer, tmp_path_factory):
    """Folder of a Qwen2 with random weights and its tokenizer; embeddings are tied."""
    folder = tmp_path_factory.mktemp("tiny_qwen2")
    return _save_tiny("Qwen2", tokenizer, folder, tie_word_embeddings=True)
