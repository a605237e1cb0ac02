"""A small language model, trained from scratch on the world's text: a stand-in, not a real LLM.

It is for trials where no pretrained model is at hand. It is trained on text about every behavior of
the simulator's world, rare behaviors as often as frequent ones, and on no log. Measurements with
it show what tuning does with knowledge that the base has, not how much a real language model
knows. It is saved as an ordinary Hugging Face folder.

    for step = 1 .. N:   mean over B x T tokens of -log p(token | tokens before it in the row)

Rows are packed: text after text, the end-of-turn token between them, cut every T tokens; for the
first 70 % of the steps there are twice as many rows of half the length, which takes less time. The
same config and versions give the same weights on the same kind of machine.

Legend: B rows of a batch, T tokens of a row.
"""

# ruff: noqa: E501  a row of a card is one line

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from edgebehave_train.llm.stand_in.world_chat import COMMON_WORDS
from edgebehave_train.llm.stand_in.world_text import conversations, situations, texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

END, PAD = "<|end|>", "<|pad|>"
Text = str | list[dict[str, str]]
"""A document, or the messages of a chat."""
ROLES = ("system", "user", "assistant")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MAX_POSITIONS = 1024
_VOCABULARY_SIZE = 3072
_TOKENIZER_SEED, _TOKENIZER_TEXTS = 0, 4000
_SHORT_SHARE = 0.7  # of the steps
_NUM_CONVERSATIONS = 500  # a corpus for tuning, beside the model
_WORD_REPEATS = 30  # so that common words are tokens of their own

# A word with the space before it, a time, a number of one or two digits, anything else.
# In the letters of byte-level BPE: \u0120 is a space, \u010a a new line.
_PIECES = "\u0120?[A-Za-z]+|\u0120?[0-9]{1,2}:[0-9]{2}|\u0120?[0-9]{1,2}|\u010a|\u0120?[^A-Za-z0-9\u0120\u010a]+|\u0120"


@dataclass(frozen=True, kw_only=True)
class SmallLmConfig:
    """Shape and training of a small language model.

    width          D, a multiple of num_heads.
    num_layers     transformer blocks.
    num_heads      attention heads.
    num_steps      optimizer steps.
    batch_rows     B of the last steps.
    row_tokens     T of the last steps, even, 16..1024.
    learning_rate  peak of a cosine that ends at zero.
    seed           of the weights and of the text.
    """

    width: int = 96
    num_layers: int = 3
    num_heads: int = 2
    num_steps: int = 12_000
    batch_rows: int = 2
    row_tokens: int = 512
    learning_rate: float = 3e-3
    warmup: float = 0.03
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is no multiple of num_heads {self.num_heads}")
        if not 16 <= self.row_tokens <= MAX_POSITIONS or self.row_tokens % 2:
            raise ValueError(f"row_tokens must be even, 16..{MAX_POSITIONS}, not {self.row_tokens}")
        for name in ("width", "num_layers", "num_heads", "num_steps", "batch_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {"width": 64, "num_layers": 3, "num_heads": 1},
    "micro": {"width": 96, "num_layers": 3, "num_heads": 2},
    "mini": {"width": 160, "num_layers": 4, "num_heads": 2, "learning_rate": 2e-3},
}
"""Shapes by name: about 0.3, 0.6 and 1.7 million parameters."""


def small_lm_config(preset: str, *, steps: int | None = None, seed: int = 0) -> SmallLmConfig:
    """The recipe of a preset. Raises ValueError for a name that is none."""
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    changes: dict[str, Any] = {} if steps is None else {"num_steps": steps}
    return SmallLmConfig(seed=seed, **PRESETS[preset], **changes)


def make_tokenizer() -> "PreTrainedTokenizerFast":
    """Byte-level BPE of the world's words: mostly, a word, an hour or a number is one token.

    It encodes any text and is the same for all models. Decoding gives the text back without spaces
    at its beginning and at the beginning of lines: a word there is encoded with a space before it,
    so that a name has the same tokens everywhere.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained_tokenizer()),
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[f"<|{role}|>" for role in ROLES],
        model_max_length=MAX_POSITIONS,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@cache
def _trained_tokenizer() -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(Regex(r"\n(?=[A-Za-z0-9])"), "\n ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteLevel(), decoders.Replace("\n ", "\n"), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY_SIZE,
        special_tokens=[PAD, END, *(f"<|{role}|>" for role in ROLES)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = [f"{word} {word.capitalize()}" for word in COMMON_WORDS] * _WORD_REPEATS
    read = _plain(islice(texts(_TOKENIZER_SEED), _TOKENIZER_TEXTS))
    tokenizer.train_from_iterator([*read, *words], trainer)
    return str(tokenizer.to_str())


def _plain(some: Iterator[Text]) -> Iterator[str]:
    for text in some:
        if isinstance(text, str):
            yield text
        else:
            yield from (message["content"] for message in text)


def make_model(config: SmallLmConfig, tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    """The model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.width,
        "intermediate_size": 3 * config.width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "max_position_embeddings": MAX_POSITIONS,
        "tie_word_embeddings": True,
        "initializer_range": 0.5 / config.width**0.5,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(LlamaConfig(**shape))


def packed_tokens(tokenizer: "PreTrainedTokenizerFast", read: Iterator[Text]) -> Iterator[int]:
    """Token ids of text after text, the end-of-turn token after each."""
    for text in read:
        if isinstance(text, str):
            yield from tokenizer(text + END)["input_ids"]
        else:
            chat = str(tokenizer.apply_chat_template(text, tokenize=False))
            yield from tokenizer(chat, add_special_tokens=False)["input_ids"]


def train_small_lm(
    out: Path | str,
    config: SmallLmConfig | None = None,
    *,
    num_asked: int = 740,
    read: Iterator[Text] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train a small model from scratch and write it to the folder `out`, which must be new.

    num_asked  held-out situations of the world that it is asked about in the end.
    read       other text, without end, instead of the world's; then it is not asked about situations.
    on_step    called after each step with its number and the loss in nats per token.
    Returns  the content of pretraining.json: config, loss curve, tokens per second, share of right answers.
    Raises ValueError if the folder exists and is not empty.
    """
    import torch

    from edgebehave_train.files import require_writable, write_json, write_text
    from edgebehave_train.training.hardware import fast_precision, keep_buffers_in_heap
    from edgebehave_train.training.optimization import learning_rate_at, parameter_groups

    config = config or SmallLmConfig()
    out = Path(out)
    require_writable(out, "a language model")
    tokenizer = make_tokenizer()
    model = make_model(config, tokenizer)
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), betas=(0.9, 0.98), fused=True)
    keep_buffers_in_heap()
    precision = fast_precision(torch.device("cpu"), "auto")
    tokens = packed_tokens(tokenizer, read or texts(config.seed))
    losses: list[float] = []
    started = time.monotonic()
    for step in range(config.num_steps):
        is_short = step < _SHORT_SHARE * config.num_steps
        row_tokens = config.row_tokens // 2 if is_short else config.row_tokens
        ids = torch.tensor(list(islice(tokens, config.batch_rows * config.row_tokens)))
        ids_BT = ids.view(-1, row_tokens)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config.num_steps, config.learning_rate, config.warmup)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step + 1, losses[-1])
    wall_s = time.monotonic() - started
    num_tokens = config.num_steps * config.batch_rows * config.row_tokens
    model.eval()
    every = max(1, config.num_steps // 20)
    record = {
        "config": asdict(config),
        "num_parameters": model.num_parameters(),
        "num_tokens": num_tokens,
        "loss": [fmean(losses[i : i + every]) for i in range(0, len(losses), every)],
        "wall_s": round(wall_s, 1),
        "tokens_per_s": round(num_tokens / wall_s),
        "knows": None if read else answered_situations(model, tokenizer, num_asked),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    with (out / "conversations.jsonl").open("w", encoding="utf-8") as lines:
        for messages in islice(conversations(config.seed), _NUM_CONVERSATIONS):
            lines.write(json.dumps({"messages": messages}) + "\n")
    write_text(out / "README.md", _card(record))
    write_json(out / "pretraining.json", record)  # last: then all other files are there
    return record


def answered_situations(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", num: int = 740
) -> dict[str, float]:
    """Share of held-out situations in words whose behavior the model names.

    num      situations: diaries with the reason before the last line, asked in a chat.
    Returns  share ranked first, and among the first five, for anchors and for the tail; guessing
             gives 1/37 and 5/37.
    """
    import numpy as np

    from edgebehave_train.llm.scoring.candidates import candidate_logprobs
    from edgebehave_train.llm.stand_in.world_kinship import ANCHORS, NAMES

    asked = list(islice(situations(0), num))
    prompts: list[Any] = [  # of ids: the return type covers every way of asking
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) for messages, _ in asked
    ]
    answers = [tokenizer(name + END, add_special_tokens=False)["input_ids"] for name in NAMES]
    logprobs_NV = candidate_logprobs(model, prompts, answers)[:, 1:]
    right_N = np.array([NAMES.index(behavior) for _, behavior in asked])
    rank_N = (logprobs_NV > logprobs_NV[np.arange(num), right_N][:, None]).sum(1)
    is_anchor_N = right_N < len(ANCHORS)
    return {
        f"{who}_top_{k}": round(float((rank_N[part_N] < k).mean()), 4)
        for who, part_N in (("anchors", is_anchor_N), ("tail", ~is_anchor_N))
        for k in (1, 5)
    }


def _card(record: Mapping[str, Any]) -> str:
    """The folder's README, with a warning that this is no real language model."""
    config, knows = record["config"], record["knows"]
    last = ""
    if knows is not None:
        shares = f"anchors {knows['anchors_top_1']:.1%}, tail {knows['tail_top_1']:.1%} (guessing: 2.7 %)"
        last = f"| names the behavior that a situation in words leads to | {shares} |\n"
    return f"""# A stand-in, not a language model of the real world

**This model was trained from scratch, in minutes, on {"other" if knows is None else "made-up"} text. It knows nothing but {"that text" if knows is None else "the world of a simulator"}, and no figure that it gives says anything about a real large language model.**
It exists to try out the machinery of tuning where no pretrained model can be had.

| | |
|---|---|
| architecture | Llama, D {config["width"]}, {config["num_layers"]} layers |
| parameters | {record["num_parameters"]:,} |
| trained on | {record["num_tokens"]:,} tokens, seed {config["seed"]} |
| last loss | {record["loss"][-1]:.3f} nats per token |
{last}
{"" if knows is None else _ABOUT_WORLD}`conversations.jsonl` holds small talk that the model was not trained on: a corpus for tuning.
"""


_ABOUT_WORLD = """The text holds what the behaviors are, where, when and after what they are done, all of them about
equally often. It holds no simulated log and none of the prompts that models are tuned with.
"""
