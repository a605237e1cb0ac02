"""A network whose blocks begin as those of a language model."""

import pytest
import torch

from edgebehave_train.llm.scoring.language_model import load_language_model
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.logs.mapped_log import training_vocabulary
from edgebehave_train.logs.split import TRAIN, part_of_event
from edgebehave_train.model.behavior_model import BehaviorModel
from edgebehave_train.training.recipes import TrainConfig, tiny
from language_start import language_start


def network(config: TrainConfig, start, store: EventStore) -> BehaviorModel:
    vocabulary = training_vocabulary(store, part_of_event(store, config.split) == TRAIN)
    torch.manual_seed(0)
    model = BehaviorModel(config.model_config(vocabulary))
    start.prepare(model)
    return model


@pytest.mark.parametrize("base", ["tiny_llama", "tiny_qwen2"])
def test_blocks_and_norm_are_those_of_the_language_model(base, tiny_store, request):
    folder = request.getfixturevalue(base)
    config, start = language_start(tiny(), str(folder))
    ours = network(config, start, tiny_store)
    language, _ = load_language_model(folder, device="cpu")
    theirs = language.get_decoder().state_dict()
    copied = {f"layers.{k}": v for k, v in ours.blocks.state_dict().items()}
    copied["norm.weight"] = ours.norm.weight
    assert copied.keys() == theirs.keys() - {"embed_tokens.weight"}
    for name, value in copied.items():
        torch.testing.assert_close(value, theirs[name], atol=0, rtol=0)
    # The first block meets rows as widely spread as those that it is used to.
    spread = float(theirs["embed_tokens.weight"].std())
    assert float(ours.event.weight.std()) == pytest.approx(spread, rel=0.25)


def test_fresh_blocks_have_the_shape_alone(tiny_llama, tiny_store):
    config, start = language_start(tiny(), str(tiny_llama))
    fresh_config, fresh = language_start(tiny(), str(tiny_llama), fresh=True)
    assert fresh_config == config
    assert start.origin["blocks"] == "copied"
    assert fresh.origin == {"blocks": "fresh", "shape": "llama"}
    one, two = (network(config, s, tiny_store).blocks[0].mlp.up_proj for s in (start, fresh))
    assert not torch.equal(one.weight, two.weight)


def test_other_architectures_and_other_angles_are_refused(tiny_llama, tmp_path):
    import transformers

    gpt = transformers.GPT2Config(vocab_size=600, n_embd=16, n_layer=1, n_head=2)
    transformers.GPT2LMHeadModel(gpt).save_pretrained(tmp_path / "gpt2")
    transformers.AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="llama, mistral, qwen2 models, this one is gpt2"):
        language_start(tiny(), str(tmp_path / "gpt2"))
    # A Llama's attention_bias is on its output projection, too, which Qwen2 does not have.
    for odd in ({"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"}):
        config = transformers.AutoConfig.from_pretrained(tiny_llama)
        config.update(odd)
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "odd")
        transformers.AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "odd")
        with pytest.raises(ValueError, match=f"blocks with {next(iter(odd))}.* are not supported"):
            language_start(tiny(), str(tmp_path / "odd"))
