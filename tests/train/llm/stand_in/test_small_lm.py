"""The stand-in: its tokenizer, its training, and the folder that it is saved in."""

from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402  after importorskip

from edgebehave_train.llm.stand_in.small_lm import (  # noqa: E402  after importorskip
    END,
    PRESETS,
    SmallLmConfig,
    make_model,
    make_tokenizer,
    train_small_lm,
)
from edgebehave_train.llm.stand_in.world_kinship import NAMES  # noqa: E402  after importorskip

TINY = SmallLmConfig(width=16, num_layers=1, num_steps=8, batch_rows=2, row_tokens=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lm") / "tiny"
    train_small_lm(out, TINY, num_asked=37)
    return out


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(text: str) -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    decoded = tokenizer.decode(ids)

    def lines(text: str) -> list[str]:
        return [line.removeprefix(" ") for line in text.split("\n")]

    assert lines(decoded) == lines(text)


def test_a_name_has_the_same_tokens_wherever_it_stands() -> None:
    tokenizer = make_tokenizer()
    for name in NAMES:
        ids = tokenizer(name)["input_ids"]
        for text in (f"08: {name}", f"one\n{name}", f"<|assistant|>{name}{END}"):
            found = tokenizer(text)["input_ids"]
            assert any(found[i : i + len(ids)] == ids for i in range(len(found))), text
        assert len(ids) <= len(name.split()) + 1


def test_hours_and_weekdays_are_single_tokens() -> None:
    tokenizer = make_tokenizer()
    for word in ("Mon", "Sunday", "08", "23", "08:00", "candidates", "next", "behavior"):
        assert len(tokenizer(word)["input_ids"]) == 1, word


def test_the_folder_is_an_ordinary_hugging_face_folder(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "stand-in" in (folder / "README.md").read_text().splitlines()[0]
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "Hello!"}]
    chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat == f"<|user|>Hello!{END}<|assistant|>"
    ids = torch.tensor([tokenizer(chat)["input_ids"]])
    assert model(ids).logits.shape[-1] == len(tokenizer)
    assert tokenizer.eos_token == END


def test_the_same_seed_gives_the_same_weights(folder: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    again = train_small_lm(tmp_path / "again", TINY, num_asked=37, on_step=lambda step, loss: losses.append(loss))
    weights = (tmp_path / "again" / "model.safetensors").read_bytes()
    assert weights == (folder / "model.safetensors").read_bytes()
    assert len(losses) == TINY.num_steps
    assert losses[-1] < losses[0]
    assert again["num_tokens"] == 8 * 2 * 64
    assert set(again["knows"]) == {"anchors_top_1", "anchors_top_5", "tail_top_1", "tail_top_5"}


def test_other_text_can_be_read_instead(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "other"
    record = train_small_lm(out, TINY, read=cycle(["a text of another world"]))
    assert record["knows"] is None
    assert "nothing but that text" in (out / "README.md").read_text()
    weights = (out / "model.safetensors").read_bytes()
    assert weights != (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("name", "low", "high"), [("nano", 2e5, 4e5), ("micro", 5e5, 7e5), ("mini", 1.5e6, 1.9e6)])
def test_presets_have_the_size_that_is_said(name: str, low: float, high: float) -> None:
    model = make_model(SmallLmConfig(**PRESETS[name]), make_tokenizer())
    assert low < model.num_parameters() < high


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no multiple of num_heads 3"):
        SmallLmConfig(width=128, num_heads=3)
    with pytest.raises(ValueError, match="row_tokens"):
        SmallLmConfig(row_tokens=4096)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="which is not part of a language model"):
        train_small_lm(tmp_path, TINY)
