"""Rows of new behaviors from their names: the steps of the table, on a log of four letters."""

import dataclasses
from importlib import import_module

import numpy as np
import pytest
import torch

from edgebehave_train.distillation.name_embeddings import NameEmbeddings
from edgebehave_train.logs.split import SplitConfig
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.recipes import tiny


def letters(names):
    return torch.stack([torch.tensor([float(c in name) for c in "abcdefg"]) for name in names])


@pytest.fixture
def trial(make_store, tmp_path):
    def log(names):
        return make_store([[(3600 * i, names[(i + user) % len(names)], None) for i in range(40)] for user in range(20)])

    recipe = tiny(width=8, num_layers=1, num_heads=1, window=8, epochs=1, batch_events=120, row_events=60)
    recipe = dataclasses.replace(recipe, split=SplitConfig(by="user"))
    known = pretrain(log("abcef"), recipe, tmp_path / "known")
    names = NameEmbeddings(embed=letters, readable={}, card={})
    return import_module("reproduce_name_rows").Trial(log("abcefd"), known, {"names": names}, seed=0)


def test_without_examples_a_new_behavior_has_rows_and_a_bias_from_its_share(trial):
    support = trial.support(0)
    assert not support.is_target[trial.log.target >= trial.num_known].any()
    for start in ("noise", "mean", "names"):
        model = trial.start(start, support)
        found = trial.hits(model, support)
        assert found["recall"].shape[1:] == (1, 2)
        assert found["recall"][..., 1].sum() > 0
        assert (found["recall"][..., 0] <= found["recall@5"][..., 0]).all()


def test_training_moves_the_new_rows_alone(trial):
    support = trial.support(3)
    assert support.examples[-1] == 3
    for start in ("noise", "names", "cooccurrence", "prototype"):
        model = trial.start(start, support)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trial.trained(model, support)
        known = slice(0, trial.num_known)
        for name, value in model.state_dict().items():
            part = known if name.startswith("head_out") else slice(None)
            assert torch.equal(value[part], before[name][part]), name
        assert trial.hits(model, support)["recall"][..., 1].sum() > 0


def test_a_mean_over_behaviors_weighs_them_alike():
    rows = import_module("reproduce_name_rows")
    counts = np.array([[[1.0, 1.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, 0.0]]])
    values = rows.resampled(counts)
    assert values[0] == 0.5
    assert len(values) == 1 + rows.NUM_RESAMPLES
    assert rows.cell(values).startswith("0.500 [")


def test_a_base_sees_a_name_as_the_mean_of_its_states(tiny_llama, tokenizer, tmp_path):
    """Of a language model without the tokens around a text, of a sentence encoder as it was trained."""
    import transformers

    rows = import_module("reproduce_name_rows")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = transformers.BertModel(transformers.BertConfig(vocab_size=len(tokenizer), **sizes))
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert not rows.HiddenNames(str(tiny_llama))._is_encoder
    (tmp_path / rows.SENTENCE_ENCODER).write_text("[]")
    hidden = rows.HiddenNames(str(tmp_path))
    hidden.layer = hidden.num_layers
    with torch.no_grad():
        states = encoder.eval()(**tokenizer("reading books", return_tensors="pt")).last_hidden_state[0]
    torch.testing.assert_close(hidden(["reading books"])[0], states.mean(0))
