"""One declaration of a network's shape and defaults, for the recipe and for the model."""

import dataclasses

import pytest

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.model.behavior_model import BLOCKS, ModelConfig, NetworkConfig
from edgebehave_train.training.recipes import TrainConfig

VOCABULARY = Vocabulary.identity(["run", "eat"], ["home"])


def test_the_model_of_a_recipe_has_its_shape():
    changes = {"width": 32, "num_layers": 3, "window": 7, "dropout": 0.5, "query_dropout": 0.0}
    model = TrainConfig(**changes).model_config(VOCABULARY)
    assert model == ModelConfig(num_events=3, num_locations=2, num_behaviors=3, **changes)
    assert (model.learned_kernel, model.expert_dropout) == (True, 0.1)


def test_the_learned_kernel_is_part_of_the_habits():
    config = TrainConfig(habits=False)
    assert config.learned_kernel
    assert not config.model_config(VOCABULARY).learned_kernel
    with pytest.raises(ValueError, match="learned_kernel is one of the habit kernels: it needs habits"):
        ModelConfig(num_events=3, num_locations=2, num_behaviors=3, habits=False)


@pytest.mark.parametrize("attention", ["softmax", "llama"])
def test_a_config_of_before_opens_if_its_blocks_are_known(attention, monkeypatch):
    monkeypatch.delitem(BLOCKS, "llama", raising=False)  # what research adds
    content = dataclasses.asdict(ModelConfig(num_events=3, num_locations=2, num_behaviors=3))
    content = {**content, "llama": None, "attention": attention}
    if attention == "softmax":
        assert ModelConfig.from_json(content).width == NetworkConfig().width
    else:
        with pytest.raises(ValueError, match=r"attention must be softmax.*, got 'llama'"):
            ModelConfig.from_json(content)
