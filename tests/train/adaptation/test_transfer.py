"""Transfer: what is copied, what stays frozen, how the ends begin, and what is refused."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from edgebehave.vocabulary import Vocabulary
from edgebehave_train.adaptation.transfer import (
    PARTS,
    STRATEGIES,
    draw_ends,
    transfer,
    transfer_config,
    transferred_start,
)
from edgebehave_train.files import read_json, write_json
from edgebehave_train.model.behavior_model import BehaviorModel, ModelConfig
from edgebehave_train.training.checkpoint import Checkpoint
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.recipes import tiny


@pytest.fixture(scope="module")
def source(tiny_store, recipe, tmp_path_factory) -> Checkpoint:
    out = tmp_path_factory.mktemp("source") / "run"
    return pretrain(tiny_store, recipe(epochs=1), out, device="cpu")


@pytest.fixture(scope="module")
def other(make_store):
    """A log that shares no name with the tiny store."""
    rng = np.random.default_rng(3)
    users = []
    for _ in range(15):
        time_s = 1_700_000_000 + rng.integers(600, 9_000, 60).cumsum()
        events = rng.choice([*"vwxyz"], 60)
        locations = np.where(events == "v", "harbor", "tower")
        users.append(list(zip(time_s.tolist(), events.tolist(), locations.tolist(), strict=True)))
    return make_store(users)


@pytest.fixture
def config(source):
    return transfer_config(source.config, 0.5, epochs=1)


def fresh_model(source, words) -> BehaviorModel:
    torch.manual_seed(1)
    sizes = {
        "num_events": words.num_events,
        "num_locations": words.num_locations,
        "num_behaviors": words.num_behaviors,
    }
    return BehaviorModel(dataclasses.replace(source.model_config, **sizes))


def prepared(source, other, config, strategy) -> tuple[BehaviorModel, BehaviorModel]:
    """The model that a run begins with, and the one before anything was done to it."""
    start = transferred_start(source, other, config, strategy)
    model, untouched = (fresh_model(source, start.vocabulary) for _ in range(2))
    start.prepare(model)
    return model, untouched


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_named_parts_are_copied_and_the_rest_is_new(source, other, config, strategy):
    model, untouched = prepared(source, other, config, strategy)
    prefixes = tuple(p for part in STRATEGIES[strategy].copied for p in PARTS[part])
    learned, new = source.load_model().state_dict(), untouched.state_dict()
    kept = transferred_start(source, other, config, strategy).kept_state(model)
    assert kept.keys() == new.keys()
    for name, value in kept.items():
        if prefixes and name.startswith(prefixes):
            assert torch.equal(value, learned[name]), name
        elif strategy != "drawn-ends":
            assert torch.equal(value, new[name]), name


def test_every_parameter_is_in_one_part_or_an_end(source):
    ends = ("event.", "location.", "query_location.", "head_out.")
    groups = [*PARTS.values(), ends]
    for name, _ in source.load_model().named_parameters():
        assert sum(name.startswith(group) for group in groups) == 1, name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_trains_moves_and_what_is_frozen_stays(source, other, config, strategy, tmp_path):
    moved = transfer(source, other, config, tmp_path / "moved", strategy, device="cpu")
    state, learned = moved.load_model().state_dict(), source.load_model().state_dict()
    same = {
        name.rpartition(".")[0].rpartition(".")[2]
        for name, value in state.items()
        if name.startswith("blocks.") and torch.equal(value, learned[name])
    }
    frozen_layers = {"qkv", "attention_out", "mlp_in", "mlp_out"}
    # An adapter moves the weight of its layer, not the bias.
    bias_and_norms = {*frozen_layers, "attention_norm", "mlp_norm"}
    assert same == {"ofa": frozen_layers, "lora": bias_and_norms}.get(strategy, set())
    assert not torch.equal(state["blocks.0.qkv.weight"], learned["blocks.0.qkv.weight"]) or (strategy == "ofa")
    assert not torch.equal(state["norm.weight"], learned["norm.weight"])
    assert moved.training.origin["strategy"] == strategy
    assert moved.vocabulary.events[1:] != source.vocabulary.events[1:]


def test_a_run_can_turn_habits_on_or_off(source, other, tmp_path):
    config = transfer_config(source.config, 1.0, epochs=1, habits=False)
    plain = transfer(source, other, config, tmp_path / "plain", "blocks-head", device="cpu")
    assert not plain.model_config.habits
    config = transfer_config(plain.config, 1.0, epochs=1, habits=True)
    mixed = transfer(plain, other, config, tmp_path / "mixed", "blocks-head", device="cpu")
    assert mixed.model_config.habits


def test_drawn_rows_have_the_moments_of_the_old_ones_and_the_old_map_to_the_projection():
    """Source rows on a line, each projection row twice its event row: the new ones follow."""
    sizes = {"width": 16, "num_layers": 1, "num_heads": 2, "window": 4, "habits": False, "learned_kernel": False}
    few = Vocabulary.identity([f"a{i}" for i in range(30)], ["home"])
    many = Vocabulary.identity([f"b{i}" for i in range(4000)], ["port", "square"])
    torch.manual_seed(0)

    def model_of(words: Vocabulary) -> BehaviorModel:
        counts = (words.num_events, words.num_locations, words.num_behaviors)
        names = ("num_events", "num_locations", "num_behaviors")
        return BehaviorModel(ModelConfig(**dict(zip(names, counts, strict=True)), **sizes))

    source, model = model_of(few), model_of(many)
    with torch.no_grad():
        line = torch.linspace(-1, 1, 30)
        source.event.weight[1:] = line[:, None] * torch.tensor([3.0, 4.0, 0.0, 0.0]) + 1
        source.head_out.weight.zero_()
        source.head_out.weight[1:, :4] = 2 * source.event.weight[1:]
    locations = model.location.weight.detach().clone()
    draw_ends(source, few, model, many)
    rows = model.event.weight[1:]
    torch.testing.assert_close(rows.mean(0), torch.ones(4), atol=0.15, rtol=0)
    torch.testing.assert_close(rows.std(0), line.std() * torch.tensor([3.0, 4, 0, 0]), atol=0.1, rtol=0)
    # On the line the map is exact except for the ridge, which pulls toward the mean by 4 * 1/400.
    torch.testing.assert_close(model.head_out.weight[1:, :4], 2 * rows, atol=0.2, rtol=0)
    assert not model.head_out.weight[1:, 4:].any()
    # One location has no covariance: new locations stay noise; unknown means the same everywhere.
    assert torch.equal(model.location.weight[1:], locations[1:])
    assert torch.equal(model.location.weight[0], source.location.weight[0])
    assert torch.equal(model.event.weight[0], source.event.weight[0])


def test_a_small_share_takes_smaller_steps():
    whole, hundredth = transfer_config(tiny()), transfer_config(tiny(), 0.01)
    assert (whole.batch_events, whole.learning_rate) == (1440, 2e-3)
    assert hundredth.batch_events == 180
    assert hundredth.learning_rate == pytest.approx(2e-3 / 8**0.5)
    assert whole.width == hundredth.width == 64
    with pytest.raises(ValueError, match="share"):
        transfer_config(tiny(), 1.5)


def test_a_killed_run_goes_on_and_only_with_what_it_began_with(source, other, config, tmp_path):
    class Stop(Exception):  # noqa: N818  a signal of the test, not an error
        pass

    def stop(progress):
        if progress.kind == "validation":
            raise Stop

    config = dataclasses.replace(config, epochs=2)
    whole = transfer(source, other, config, tmp_path / "whole", "lora", device="cpu")
    with pytest.raises(Stop):
        transfer(source, other, config, tmp_path / "a", "lora", device="cpu", on_progress=stop)
    with pytest.raises(ValueError, match="blocks-head"):
        transfer(source, other, config, tmp_path / "a", "blocks-head", resume=True, device="cpu")
    moved = transfer(source, other, config, tmp_path / "a", "lora", resume=True, device="cpu")
    for name, value in whole.load_model().state_dict().items():
        assert torch.equal(value, moved.load_model().state_dict()[name]), name


# -- what is refused ----------------------------------------------------------------------------


def refused(source, store, config, out, strategy="blocks-head") -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the callers look at the message
        transfer(source, store, config, out, strategy, device="cpu")
    return str(error.value)


def test_a_log_with_one_class_is_refused_and_nothing_is_written(source, config, make_store, tmp_path):
    store = make_store([[(1_700_000_000 + 900 * i, "tick", None) for i in range(60)]] * 3)
    assert "1 behaviors" in refused(source, store, config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_share_that_shows_one_class_is_refused(source, make_store, tmp_path):
    one = [(1_700_000_000 + 900 * i, "tick", None) for i in range(60)]
    store = make_store([*[one] * 9, [(time_s, "tock", None) for time_s, *_ in one]])
    config = transfer_config(source.config, 0.01)
    assert "larger share" in refused(source, store, config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(source, other, config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "not part of a checkpoint" in refused(source, other, config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_strategy_that_is_not_there_is_refused(source, other, config, tmp_path):
    message = refused(source, other, config, tmp_path / "out", "magic")
    assert "scratch, blocks, blocks-head" in message


def test_another_shape_is_refused(source, other, config, tmp_path):
    wider = dataclasses.replace(config, width=32)
    assert "width is 16" in refused(source, other, wider, tmp_path / "out")


def test_a_checkpoint_that_is_not_finished_is_refused(source, other, config, tmp_path):
    shutil.copytree(source.path, tmp_path / "half")
    training = read_json(tmp_path / "half" / "training.json")
    write_json(tmp_path / "half" / "training.json", {**training, "finished": False}, seal=True)
    half = Checkpoint.open(tmp_path / "half")
    assert "not finished" in refused(half, other, config, tmp_path / "out")
