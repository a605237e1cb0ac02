"""A training run: what it learns from, that it resumes to the bit, and what it refuses."""

import dataclasses
import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from edgebehave_train.evaluation.part_predictions import predict_part
from edgebehave_train.files import one_writer
from edgebehave_train.loading.batches import TrainingLog
from edgebehave_train.logs.event_store import COLUMNS, EventStore
from edgebehave_train.logs.mapped_log import map_log
from edgebehave_train.logs.split import TRAIN, VALIDATION, SplitConfig, part_of_event
from edgebehave_train.logs.store_writer import write_statistics
from edgebehave_train.metrics.prediction_metrics import evaluate_predictions
from edgebehave_train.metrics.scoring import target_probs
from edgebehave_train.training import training_run
from edgebehave_train.training.checkpoint import RESUME_FILE, Checkpoint
from edgebehave_train.training.log_parts import asking_ranges
from edgebehave_train.training.objectives import OBJECTIVES, ObjectiveConfig
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.training.recipes import TrainConfig

DRO = ObjectiveConfig(name="dro", warm_start=0.2, baseline=True)

# Every number is given, so that another default is not another curve. The random choices are a hash of seed, step and
# row, the same on all processors.
GOLDEN = {
    "width": 16,
    "num_layers": 2,
    "num_heads": 2,
    "query_context": "time",
    "habits": True,
    "learned_kernel": False,
    "dropout": 0.0,
    "expert_dropout": 0.2,
    "query_dropout": 0.1,
    "window": 8,
    "epochs": 1,
    "patience": 0,
    "batch_events": 120,
    "row_events": 60,
    "learning_rate": 1e-2,
    "warmup": 0.1,
    "weight_decay": 0.05,
    "ema_decay": 0.9,
    "precision": "float32",
    "seed": 5,
}
GOLDEN_OBJECTIVES = {
    "ce": ObjectiveConfig(name="ce", network_weight=0.5),
    "dro": ObjectiveConfig(
        name="dro",
        network_weight=0.5,
        epsilon_max=0.4,
        epsilon_min=0.1,
        kappa=1.0,
        warm_start=0.1,
        mixing=1.0,
        baseline=False,
        risk_decay=0.95,
    ),
}
GOLDEN_OBJECTIVES["dro, shifted prior"] = dataclasses.replace(GOLDEN_OBJECTIVES["dro"], shift=0.25)
GOLDEN_OBJECTIVES["ce, learned kernel"] = GOLDEN_OBJECTIVES["ce"]
# Mean training loss after 1, 2, ... 10 steps, in nats.
GOLDEN_LOSSES = {
    "ce": [1.8731, 1.8579, 1.8386, 1.8468, 1.8229, 1.751, 1.7206, 1.7176, 1.7009, 1.701],
    "dro": [1.8731, 1.8579, 1.8386, 1.8489, 1.8262, 1.7667, 1.7397, 1.7324, 1.7202, 1.7206],
    "dro, shifted prior": [
        *(1.8731, 1.8588, 1.8405, 1.8511, 1.8286),
        *(1.7783, 1.7601, 1.7639, 1.757, 1.7616),
    ],
    "ce, learned kernel": [
        *(1.8449, 1.7965, 1.7425, 1.7486, 1.7158),
        *(1.6467, 1.6319, 1.6404, 1.6287, 1.6286),
    ],
}


class Stop(Exception):  # noqa: N818  a signal of the test, not an error
    """Raised from on_progress, as a Ctrl-C would be."""


def stop_at(step: int):
    def on_progress(progress):
        if progress.kind == "step" and progress.step == step:
            raise Stop

    return on_progress


def weights_digest(folder) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def losses_of(store, config, out) -> list[float]:
    """Mean training loss of the epoch so far, after each step of a whole run."""
    reports = []
    pretrain(store, config, out, device="cpu", on_progress=reports.append)
    return [report.loss for report in reports if report.kind == "step"]


# -- what it learns from ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def routines(make_store):
    """A log of its own for the golden curve: 12 users who do 7 things in cycles, with noise."""
    rng = np.random.default_rng(11)
    names = np.array([*"abcdefg"])
    users = []
    for _ in range(12):
        cycle = rng.integers(0, 7, 5)
        behavior = np.where(rng.random(200) < 0.3, rng.integers(0, 7, 200), np.resize(cycle, 200))
        time_s = 1_700_000_000 + rng.integers(600, 9_000, 200).cumsum()
        location = np.where(behavior < 3, "home", "work")
        columns = time_s.tolist(), names[behavior].tolist(), location.tolist()
        users.append(list(zip(*columns, strict=True)))
    return make_store(users)


@pytest.mark.parametrize("objective", GOLDEN_LOSSES)
def test_the_first_losses_follow_the_golden_curve(routines, tmp_path, objective):
    golden = {**GOLDEN, "learned_kernel": "learned" in objective}
    config = TrainConfig(**golden, objective=GOLDEN_OBJECTIVES[objective], split=SplitConfig())
    losses = losses_of(routines, config, tmp_path / "run")[:10]
    assert losses == pytest.approx(GOLDEN_LOSSES[objective], abs=2e-3)


def with_other_later_parts(store, folder) -> EventStore:
    """The same log up to the end of the training part, and another life after it."""
    shutil.copytree(store.path, folder)
    part = part_of_event(store, SplitConfig())
    is_later = part != TRAIN
    rng = np.random.default_rng(0)
    later = {name: np.array(getattr(store, name)) for name in COLUMNS}
    later["event"][is_later] = rng.integers(1, 15, is_later.sum())
    of_event = np.array(store.vocabulary.event_to_behavior)
    later["behavior"][is_later] = of_event[later["event"][is_later]]
    later["location"][is_later] = rng.integers(0, 8, is_later.sum())
    later["time_s"][is_later] += 5 * 3600
    for name, values in later.items():
        np.save(folder / f"{name}.npy", values)
    write_statistics(folder, {})
    return EventStore.open(folder)


@pytest.mark.parametrize("objective", [ObjectiveConfig(), DRO])
def test_later_parts_never_enter_the_loss(tiny_store, recipe, tmp_path, objective):
    other = with_other_later_parts(tiny_store, tmp_path / "other")
    assert other.fingerprint != tiny_store.fingerprint
    # After one epoch no choice of validation has touched the weights.
    config = recipe(epochs=1, objective=objective)
    losses = [losses_of(store, config, tmp_path / name) for name, store in (("a", tiny_store), ("b", other))]
    assert losses[0] == losses[1]
    assert weights_digest(tmp_path / "a") == weights_digest(tmp_path / "b")
    before, after = (Checkpoint.open(tmp_path / name) for name in "ab")
    assert before.vocabulary == after.vocabulary
    assert before.training.validation_nll != after.training.validation_nll


def test_without_a_query_context_no_query_time_is_used(tiny_store, recipe, tmp_path, monkeypatch):
    """Other moments of the targets: the same weights."""
    build = TrainingLog.batches

    def moment(query):
        return {
            "query_weekday": (query.query_weekday + 3) % 7,
            "query_slot": (query.query_slot + 11) % 48,
        }

    def elsewhen(self, *args, **options):
        for batch in build(self, *args, **options):
            past = dataclasses.replace(batch.past, **moment(batch.past), wait=batch.past.wait + 1)
            yield dataclasses.replace(batch, **moment(batch), past=past)

    digests = {}
    for context in ("none", "time"):
        config = recipe(epochs=1, query_context=context)
        plain = pretrain(tiny_store, config, tmp_path / context, device="cpu")
        with monkeypatch.context() as patch:
            patch.setattr(TrainingLog, "batches", elsewhen)
            moved = pretrain(tiny_store, config, tmp_path / f"{context}_moved", device="cpu")
        digests[context] = [weights_digest(run.path) for run in (plain, moved)]
    assert digests["none"][0] == digests["none"][1]
    assert digests["time"][0] != digests["time"][1]


def test_the_validation_loss_is_that_of_the_scores(make_store, recipe, tmp_path):
    # Every event is a behavior that trains, so each is asked for once, from the event before it.
    rng = np.random.default_rng(1)
    store = make_store(users_of(*("".join(rng.choice([*"abcde"], 50)) for _ in range(6))))
    config = recipe(epochs=1)
    checkpoint = pretrain(store, config, tmp_path / "run", device="cpu")
    part = part_of_event(store, config.split)
    log = map_log(store, checkpoint.vocabulary)
    behaviors = log.behavior_log(part == TRAIN)
    targets = behaviors.targets(part == VALIDATION)
    nll = np.zeros(len(targets))
    for which, probs in target_probs(checkpoint.load_model(), log, behaviors, targets):
        nll[which] = -np.log(probs[np.arange(len(which)), targets.behavior[which]])
    assert checkpoint.training.validation_nll == pytest.approx([nll.mean()], rel=1e-5)


def test_validation_reads_no_older_events_than_a_state_is_rebuilt_from():
    # Three users of 6, 3 and 4 events; the second has nothing to be asked, the third's events 10
    # and 11 have no behavior, so what follows 9 is 12.
    next_behavior = np.array([1, 2, 3, 4, 5, -1, 7, 8, -1, 12, 12, 12, -1])
    is_asked = np.isin(np.arange(13), (4, 5, 12))
    bounds = np.array([[0, 4, 6, 6], [6, 9, 9, 9], [9, 11, 13, 13]])
    for receptive_field, first in ((1, 3), (3, 1), (9, 0)):
        ranges = asking_ranges(next_behavior, is_asked, bounds, receptive_field)
        assert ranges.tolist() == [[first, 5], [9, 12]]


def test_the_loss_falls_and_the_best_epoch_is_kept(tiny_store, recipe, tmp_path):
    reports = []
    config = recipe(epochs=4, patience=1, learning_rate=1e-2)
    checkpoint = pretrain(tiny_store, config, tmp_path / "run", on_progress=reports.append)
    validations = [report for report in reports if report.kind == "validation"]
    nll = [report.validation_nll for report in validations]
    assert validations[-1].loss < validations[0].loss
    assert checkpoint.training.validation_nll == nll
    assert checkpoint.training.best_epoch == 1 + int(np.argmin(nll))
    assert [report.is_best for report in validations] == [
        value < min([math.inf, *nll[:i]]) for i, value in enumerate(nll)
    ]
    assert reports[0].kind == "start"
    assert reports[-1].kind == "end"
    assert checkpoint.training.finished
    assert not (tmp_path / "run" / RESUME_FILE).exists()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_weights_are_chosen_by_the_loss_of_the_objective(tiny_store, recipe, tmp_path, name):
    config = recipe(epochs=3, learning_rate=1e-2, objective=ObjectiveConfig(name=name))
    reports = []
    training = pretrain(tiny_store, config, tmp_path / "run", on_progress=reports.append).training
    losses = training.validation_loss
    assert training.best_epoch == 1 + int(np.argmin(losses))
    assert reports[-1].validation_loss == min(losses)
    assert (losses == training.validation_nll) == (name == "ce")


def test_the_rank_of_the_targets_may_choose_the_epoch(tiny_store, recipe, tmp_path):
    config = recipe(epochs=4, patience=0, choose_by="rank")
    reports = []
    kept = pretrain(tiny_store, config, tmp_path / "rank", on_progress=reports.append)
    ranks = kept.training.validation_rank
    assert kept.training.best_epoch == int(np.argmax(ranks)) + 1
    assert reports[-1].validation_rank == max(ranks)
    scored = evaluate_predictions(predict_part(tiny_store, kept), kept.behavior_counts)
    assert scored["mrr"] == pytest.approx(max(ranks), abs=1e-4)
    assert f"mean reciprocal rank | {max(ranks):.4f}" in (kept.path / "README.md").read_text()
    by_loss = pretrain(tiny_store, dataclasses.replace(config, choose_by="loss"), tmp_path / "loss")
    assert by_loss.training.validation_nll == kept.training.validation_nll
    assert by_loss.training.validation_rank is None


def test_patience_begins_after_the_warm_start(tiny_store, recipe, tmp_path):
    # The weights stand still, so no epoch is better than the first.
    config = recipe(epochs=10, patience=2, learning_rate=1e-30)
    plain = pretrain(tiny_store, config, tmp_path / "plain").training
    robust = dataclasses.replace(config, objective=ObjectiveConfig(name="dro", warm_start=0.5))
    waiting = pretrain(tiny_store, robust, tmp_path / "dro").training
    assert (len(plain.validation_nll), len(waiting.validation_nll)) == (3, 7)


def test_epochs_before_the_baseline_of_dro_is_known_are_not_kept(tiny_store, recipe, tmp_path):
    objective = ObjectiveConfig(name="dro", warm_start=0.6, baseline=True)
    config = recipe(epochs=3, objective=objective)
    checkpoint = pretrain(tiny_store, config, tmp_path / "run")
    assert checkpoint.training.validation_loss[0] is None
    assert checkpoint.training.best_epoch > 1


def test_the_worst_case_of_dro_is_kept_with_its_capacity(tiny_store, recipe, tmp_path):
    reports = []
    config = recipe(epochs=1, objective=DRO)
    checkpoint = pretrain(tiny_store, config, tmp_path / "run", on_progress=reports.append)
    dro = checkpoint.training.dro
    assert dro.capacity >= 1
    assert sum(dro.worst_case) == pytest.approx(1, abs=1e-4)
    assert f"dro capacity C = {dro.capacity:.2f}" in reports[0].message


def test_the_seed_is_all_that_is_random(tiny_store, recipe, tmp_path):
    digests = [
        weights_digest(pretrain(tiny_store, recipe(epochs=1, seed=seed), tmp_path / name, device="cpu").path)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


# -- resuming ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ce", "dro"])
def whole_run(request, tiny_store, recipe, tmp_path_factory):
    """A configuration and the digest of the weights of an uninterrupted run."""
    config = recipe(objective=DRO if request.param == "dro" else ObjectiveConfig())
    out = tmp_path_factory.mktemp("whole") / "run"
    pretrain(tiny_store, config, out, device="cpu")
    return config, weights_digest(out)


@pytest.mark.parametrize(
    ("step", "save_every_s"),
    [
        (3, 60.0),  # before the first save
        (3, -1.0),  # in the middle of the first epoch, saved after each step
        (11, 60.0),  # in the second epoch, saved at the end of the first
        (11, -1.0),  # in the middle of both
    ],
)
def test_a_stopped_run_resumes_to_the_same_bytes(tiny_store, whole_run, tmp_path, monkeypatch, step, save_every_s):
    config, digest = whole_run
    monkeypatch.setattr(training_run, "_SAVE_EVERY_S", save_every_s)
    out = tmp_path / "run"
    with pytest.raises(Stop):
        pretrain(tiny_store, config, out, device="cpu", on_progress=stop_at(step))
    torch.randn(7)  # whatever else happens to the generator
    resumed = []
    pretrain(tiny_store, config, out, device="cpu", resume=True, on_progress=resumed.append)
    first = next(report.step for report in resumed if report.kind == "step")
    steps_per_epoch = resumed[-1].num_steps // config.epochs
    assert steps_per_epoch < 11
    saved = step - 1 if save_every_s < 0 else step // steps_per_epoch * steps_per_epoch
    assert first == saved + 1
    assert weights_digest(out) == digest


def test_a_run_that_ends_at_every_step_still_ends_the_same(tiny_store, whole_run, tmp_path, monkeypatch):
    config, digest = whole_run
    monkeypatch.setattr(training_run, "_SAVE_EVERY_S", -1.0)
    out = tmp_path / "run"
    for step in (2, 4, 9):
        with pytest.raises(Stop):
            pretrain(tiny_store, config, out, device="cpu", resume=step > 2, on_progress=stop_at(step))
    pretrain(tiny_store, config, out, device="cpu", resume=True)
    assert weights_digest(out) == digest


KILLED_RUN = """
import json, os, signal, sys
from pathlib import Path
import torch
from edgebehave_train.training import training_run
from edgebehave_train.training.pretraining import pretrain
from edgebehave_train.logs.event_store import EventStore
from edgebehave_train.training.recipes import TrainConfig

torch.set_num_threads(1)
training_run._SAVE_EVERY_S = -1.0
store, out, config = sys.argv[1], Path(sys.argv[2]), TrainConfig.from_json(json.loads(sys.argv[3]))

def on_progress(progress):
    if progress.step == 10:
        os.kill(os.getpid(), signal.SIGKILL)

pretrain(EventStore.open(store), config, out, device="cpu", on_progress=on_progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_a_killed_process_resumes_to_the_same_bytes(tiny_store, whole_run, tmp_path):
    config, digest = whole_run
    out = tmp_path / "run"
    arguments = (str(tiny_store.path), str(out), json.dumps(config.to_json()))
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (out / RESUME_FILE).is_file()
    pretrain(tiny_store, config, out, device="cpu", resume=True)
    assert weights_digest(out) == digest
    assert not list(out.glob("*.partial"))


# -- what it refuses --------------------------------------------------------------------------


@pytest.fixture
def stopped_run(tiny_store, recipe, tmp_path):
    config, out = recipe(), tmp_path / "stopped"
    with pytest.raises(Stop):
        pretrain(tiny_store, config, out, on_progress=stop_at(2))
    return config, out


def test_a_folder_in_use_is_left_alone(tiny_store, stopped_run):
    config, out = stopped_run
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match="already holds a checkpoint; use --resume, or another"):
        pretrain(tiny_store, config, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_resumes_on_its_own_log_alone(tiny_store, stopped_run, tmp_path):
    config, out = stopped_run
    other = with_other_later_parts(tiny_store, tmp_path / "other")
    with pytest.raises(ValueError, match="was trained on another log; resume it on that one"):
        pretrain(other, config, out, resume=True)


def test_a_run_resumes_with_its_own_options_alone(tiny_store, stopped_run, recipe):
    _, out = stopped_run
    with pytest.raises(ValueError, match=r"started with epochs = 2, now it is 3; resume with the"):
        pretrain(tiny_store, recipe(epochs=3), out, resume=True)
    with pytest.raises(ValueError, match="started with objective = "):
        pretrain(tiny_store, recipe(objective=DRO), out, resume=True)


def test_of_two_that_resume_the_second_is_told_so(tiny_store, stopped_run):
    config, out = stopped_run
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with one_writer(out), pytest.raises(ValueError, match=r"another process is writing .*stopped; wait for its end"):
        pretrain(tiny_store, config, out, resume=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    pretrain(tiny_store, config, out, resume=True)


def test_there_must_be_something_to_resume(tiny_store, recipe, tmp_path):
    with pytest.raises(ValueError, match="holds no run to resume; leave --resume out"):
        pretrain(tiny_store, recipe(), tmp_path / "nothing", resume=True)
    pretrain(tiny_store, recipe(epochs=1), tmp_path / "done")
    with pytest.raises(ValueError, match="is finished; nothing to resume"):
        pretrain(tiny_store, recipe(epochs=1), tmp_path / "done", resume=True)


def users_of(*names_of_user):
    return [[(600 * i, name, None) for i, name in enumerate(names)] for names in names_of_user]


def test_a_log_with_one_behavior_has_nothing_to_choose_from(make_store, recipe, tmp_path):
    store = make_store(users_of("a" * 20, "a" * 20))
    with pytest.raises(ValueError, match="holds 1 behaviors; a model needs at least 2"):
        pretrain(store, recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_users_of_one_event_are_passed_over(make_store, recipe, tmp_path):
    store = make_store(users_of("a", "abcbabcabcab" * 3, "c", "bacabcabacba" * 3, "b"))
    checkpoint = pretrain(store, recipe(epochs=1), tmp_path / "run")
    assert checkpoint.training.validation_nll[0] < 3
    lonely = make_store(users_of("a", "b", "c", "a"))
    with pytest.raises(ValueError, match="nothing to train on"):
        pretrain(lonely, recipe(), tmp_path / "lonely")


def test_a_training_part_without_a_next_behavior_has_nothing_to_train_on(make_store, recipe, tmp_path):
    of_event = {"a": "a", "b": "b", "screen.on": None}
    users = [[(0, "a", None), *((i, "screen.on", None) for i in range(1, 20))] for _ in range(3)]
    users += [[(0, "b", None), *((i, "screen.on", None) for i in range(1, 20))] for _ in range(3)]
    with pytest.raises(ValueError, match="nothing to train on"):
        pretrain(make_store(users, of_event), recipe(), tmp_path / "run")


def test_a_log_too_short_to_validate_says_so_before_it_trains(make_store, recipe, tmp_path):
    # Three events of each user train and none validates: no epoch could be the best one.
    store = make_store(users_of("aba", "bab", "abb"))
    with pytest.raises(ValueError, match="the validation part holds nothing to predict"):
        pretrain(store, recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
