import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgebehave_train.files import write_tensors
from edgebehave_train.llm.prompts.encoding import TokenizedSample
from edgebehave_train.llm.scoring.language_model import LoraSettings, add_adapter, load_language_model
from edgebehave_train.llm.tuning import tuning_loop
from edgebehave_train.llm.tuning.tuning_loop import TuningConfig, passes, training_batches, tune


def samples(num, seed=0):
    """Prompts of random tokens; the answer repeats the last token of the prompt."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        prompt = rng.integers(10, 20, rng.integers(3, 9)).tolist()
        found.append(TokenizedSample(prompt_ids=prompt, answer_ids=[prompt[-1], 2]))
    return found


@pytest.fixture
def fresh(tiny_llama):
    def make(**settings):
        model, _ = load_language_model(tiny_llama, device="cpu")
        return add_adapter(model, LoraSettings(**{"rank": 4, **settings}), seed=1)

    return make


QUICK = {"epochs": 3, "learning_rate": 3e-3, "batch_size": 8, "autocast": "float32"}


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_and_reports_each_epoch(tiny_llama):
    """The whole model here: random weights are too small for adapters to do much."""
    told = []
    model, _ = load_language_model(tiny_llama, device="cpu")
    result = tune(
        model,
        samples(64),
        samples(16, 1),
        TuningConfig(**QUICK | {"learning_rate": 1e-2}),
        on_progress=told.append,
    )
    assert result.validation_loss[-1] < 0.8 * result.validation_loss[0]
    assert result.best_loss == min(result.validation_loss)
    assert result.num_steps == 24
    kinds = [one.kind for one in told]
    assert kinds == ["start", *(["step"] * 8 + ["validating", "validation"]) * 3, "end"]
    assert told[-1].validation_loss == result.best_loss
    assert not model.training


def test_the_weights_of_the_best_epoch_are_kept(fresh):
    model, losses = fresh(), iter([2.0, 1.0, 1.5])
    kept = []

    class Judged(tuning_loop.TuningLoop):
        def validate(self, report):
            kept.append(weights(self.model))
            return next(losses)

    run = Judged(model, samples(16), samples(4, 1), TuningConfig(**QUICK), None)
    result = run.run(lambda progress: None)
    assert (result.best_epoch, result.best_loss) == (2, 1.0)
    assert equal(weights(model), kept[1])
    assert not equal(kept[1], kept[2])


def test_patience_ends_a_run_that_gets_no_better(fresh):
    class Worse(tuning_loop.TuningLoop):
        def validate(self, report):
            return float(self.epoch)

    config = TuningConfig(**QUICK | {"epochs": 8, "patience": 2})
    result = Worse(fresh(), samples(16), samples(4), config, None).run(lambda progress: None)
    assert len(result.validation_loss) == 3
    assert result.best_epoch == 1


@pytest.mark.parametrize("killed_at", [1, 4, 5, 8])
def test_a_killed_run_goes_on_and_ends_the_same(fresh, tmp_path, monkeypatch, killed_at):
    config = TuningConfig(**QUICK | {"epochs": 2})
    train, validation = samples(32), samples(8, 1)
    whole = fresh(dropout=0.1)
    wanted = tune(whole, train, validation, config)

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.kind == "step" and progress.step == killed_at:
            raise KilledError

    monkeypatch.setattr(tuning_loop, "_SAVE_EVERY_S", -1.0)  # after every step
    state = tmp_path / "resume.safetensors"
    with pytest.raises(KilledError):
        tune(fresh(dropout=0.1), train, validation, config, state_file=state, on_progress=kill)
    torch.manual_seed(99)
    again = fresh(dropout=0.1)
    steps = []
    result = tune(again, train, validation, config, state_file=state, on_progress=lambda p: steps.append(p))
    assert equal(weights(again), weights(whole))
    assert result == wanted
    assert sum(one.kind == "step" for one in steps) == 8 - killed_at + 1
    # A finished state gives the result without another step.
    finished = fresh(dropout=0.1)
    assert tune(finished, train, validation, config, state_file=state) == wanted
    assert equal(weights(finished), weights(whole))


def test_a_run_that_is_killed_while_it_validates_goes_on_behind_the_samples_that_are_done(fresh, tmp_path, monkeypatch):
    config = TuningConfig(**QUICK | {"epochs": 1, "tokens_per_pass": 20})
    train, validation = samples(16), samples(12, 1)
    wanted = tune(fresh(), train, validation, config)
    told = []

    def kill(progress):
        told.append(progress)
        if progress.kind == "validating" and progress.step > 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(tuning_loop, "_SAVE_EVERY_S", -1.0)
    state = tmp_path / "resume.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(fresh(), train, validation, config, state_file=state, on_progress=kill)
    first = [one.step for one in told if one.kind == "validating"]
    told.clear()
    assert tune(fresh(), train, validation, config, state_file=state, on_progress=told.append) == wanted
    again = [one.step for one in told if one.kind == "validating"]
    assert again[-1] == 12
    assert again[0] == first[-1]  # the pass after which it was killed, and none before it
    assert not [one for one in told if one.kind == "step"]


def test_shared_tokens_run_apart_and_change_nothing(fresh):
    beginning = [21, 22, 23, 24]
    begun = [
        TokenizedSample(prompt_ids=[*beginning, *one.prompt_ids], answer_ids=one.answer_ids) for one in samples(20)
    ]
    train, validation = [*begun[:12], *samples(4, 2)], begun[12:]
    # One batch: its order, which is by the lengths that run, cannot matter.
    config = TuningConfig(**QUICK | {"batch_size": 16, "tokens_per_pass": 30})
    found = []
    for shared in ((), beginning):
        model, told = fresh().double(), []  # Adam blows rounding up where a gradient is close to 0
        result = tune(model, train, validation, config, shared=shared, on_progress=told.append)
        assert ("after 4 shared ones" in told[0].message) == bool(shared)
        found.append((result.best_loss, weights(model)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], atol=1e-5, rtol=0)


def test_a_model_that_computes_otherwise_with_shared_tokens_runs_prompts_whole(fresh, monkeypatch):
    model, told = fresh(), []
    monkeypatch.setattr(tuning_loop.SharedPrefix, "of", lambda model, tokens: 1 / 0)
    beginning = [21, 22, 23, 24]
    begun = [TokenizedSample(prompt_ids=[*beginning, *one.prompt_ids], answer_ids=[5]) for one in samples(8)]
    with pytest.warns(UserWarning, match="prompts run whole"):
        tune(model, begun, begun, TuningConfig(**QUICK), shared=beginning, on_progress=told.append)
    assert "shared" not in told[0].message


def test_a_state_of_another_run_is_refused(fresh, tmp_path):
    state = tmp_path / "resume.safetensors"
    config = TuningConfig(**QUICK | {"epochs": 1})
    tune(fresh(), samples(8), samples(4), config, state_file=state)
    other = TuningConfig(**QUICK | {"epochs": 1, "seed": 5})
    with pytest.raises(ValueError, match="is of a run with seed = 0, now it is 5"):
        tune(fresh(), samples(8), samples(4), other, state_file=state)
    with pytest.raises(ValueError, match="is of a run with samples ="):
        tune(fresh(), samples(9), samples(4), config, state_file=state)
    with pytest.raises(ValueError, match="is of a run with trained parameters ="):
        tune(fresh(rank=2), samples(8), samples(4), config, state_file=state)


def test_a_file_that_is_no_state_is_refused(fresh, tmp_path):
    state = tmp_path / "resume.safetensors"
    write_tensors(state, {"now.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="is not the state of a tuning run"):
        tune(fresh(), samples(8), samples(4), TuningConfig(**QUICK), state_file=state)


def test_passes_change_memory_and_not_the_result(fresh):
    found = []
    for tokens_per_pass in (1, 40, 4096):
        model = fresh()
        config = TuningConfig(**QUICK | {"epochs": 1, "tokens_per_pass": tokens_per_pass})
        result = tune(model, samples(24), samples(8, 1), config)
        found.append((result.best_loss, weights(model)))
    for loss, trained in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-4)
        for name, value in trained.items():
            # Adam divides a gradient by its own size, which blows rounding up.
            torch.testing.assert_close(value, found[0][1][name], atol=2e-3, rtol=0)


@pytest.mark.parametrize(("context", "lengths"), [(512, {16, 32}), (20, {16, 20})])
def test_passes_have_few_lengths_and_never_more_than_the_model_reads(fresh, monkeypatch, context, lengths):
    model, seen = fresh(), set()
    model.config.max_position_embeddings = context
    rng = np.random.default_rng(0)
    ids = [rng.integers(10, 20, length).tolist() for length in rng.integers(8, 19, 40)]
    train = [TokenizedSample(prompt_ids=prompt, answer_ids=[prompt[-1], 2]) for prompt in ids]
    of = tuning_loop.AnswerBatch.of

    def watched(*arguments):
        batch = of(*arguments)
        seen.add(batch.token_ST.shape[1])
        return batch

    monkeypatch.setattr(tuning_loop.AnswerBatch, "of", watched)
    padded = tune(model, train, train[:4], TuningConfig(**QUICK | {"epochs": 1}))
    assert seen == lengths
    monkeypatch.setattr(tuning_loop, "_LENGTH_STEP", 1)
    plain = tune(fresh(), train, train[:4], TuningConfig(**QUICK | {"epochs": 1}))
    assert padded.training_loss == pytest.approx(plain.training_loss, abs=1e-4)
    assert len(seen) > len(lengths)


def test_bfloat16_learns_as_well(fresh):
    losses = {}
    for autocast in ("float32", "bfloat16"):
        config = TuningConfig(**QUICK | {"autocast": autocast, "learning_rate": 3e-2})
        losses[autocast] = tune(fresh(), samples(64), samples(16, 1), config).best_loss
    # bfloat16 has 8 bits: logits of some nats are off by hundredths.
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.15)


def test_frozen_weights_converted_once_change_nothing_and_come_back(fresh, monkeypatch):
    config = TuningConfig(**QUICK | {"autocast": "bfloat16", "learning_rate": 3e-2})
    model, plain = fresh(), fresh()
    before = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    seen = set()
    watch = model.get_base_model().model.layers[0].mlp.down_proj.base_layer
    watch.register_forward_hook(lambda module, args, out: seen.add(module.weight.dtype))
    result = tune(model, samples(64), samples(16, 1), config)
    monkeypatch.setattr(tuning_loop, "frozen_weights_in", lambda model, dtype: nullcontext())
    assert tune(plain, samples(64), samples(16, 1), config) == result
    assert equal(weights(model), weights(plain))
    assert seen == {torch.bfloat16}
    after = {name: value for name, value in model.named_parameters() if not value.requires_grad}
    assert equal(before, after)


def test_the_rate_rises_then_falls_to_its_end(fresh, monkeypatch):
    rates = []

    class Watched(tuning_loop.TuningLoop):
        def _train_step(self, batch):
            loss = super()._train_step(batch)
            rates.append(self.optimizer.param_groups[0]["lr"])
            return loss

    config = TuningConfig(epochs=2, batch_size=4, autocast="float32")
    Watched(fresh(), samples(40), samples(4), config, None).run(lambda progress: None)
    assert len(rates) == 20
    assert max(rates) == rates[1] == pytest.approx(1e-4)
    assert rates[0] == pytest.approx((1e-4 + 1e-6) / 2)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] == pytest.approx(1e-6, abs=1e-6)


def test_what_cannot_be_tuned_is_refused(fresh, tiny_llama):
    config = TuningConfig(**QUICK)
    with pytest.raises(ValueError, match="no training sample"):
        tune(fresh(), [], samples(1), config)
    with pytest.raises(ValueError, match="no validation sample"):
        tune(fresh(), samples(1), [], config)
    long = TokenizedSample(prompt_ids=[5] * 2048, answer_ids=[2])
    with pytest.raises(ValueError, match="1 of 3 training samples are longer than the 2048"):
        tune(fresh(), [*samples(2), long], samples(1), config)
    foreign = TokenizedSample(prompt_ids=[5, 10_000], answer_ids=[2])
    with pytest.raises(ValueError, match="validation sample holds token 10000"):
        tune(fresh(), samples(1), [foreign], config)
    model, _ = load_language_model(tiny_llama, device="cpu")
    with pytest.raises(ValueError, match="nothing of the model trains"):
        tune(model.requires_grad_(False), samples(1), samples(1), config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": 1e-7},
        {"warmup": 1.0},
        {"batch_size": 0},
        {"max_gradient_norm": 0.0},
        {"patience": -1},
        {"tokens_per_pass": -1},
        {"autocast": "float16"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TuningConfig(**wrong)


@given(st.integers(1, 400), st.integers(1, 5), st.integers(0, 3))
def test_batches_hold_every_sample_once(num_samples, batch_size, seed):
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 50, num_samples)
    batches = training_batches(length, batch_size, rng)
    assert sorted(i for batch in batches for i in batch) == list(range(num_samples))
    assert len(batches) == math.ceil(num_samples / batch_size)
    for batch in batches:
        assert list(length[batch]) == sorted(length[batch])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_passes_hold_a_batch_and_no_more_tokens_than_allowed(lengths, max_tokens):
    length = np.array(sorted(lengths))
    parts = passes(length, np.arange(len(length)), max_tokens)
    assert np.concatenate(parts).tolist() == list(range(len(length)))
    for part in parts:
        assert len(part) == 1 or len(part) * length[part].max() <= max_tokens
