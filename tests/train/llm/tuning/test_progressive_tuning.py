import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from edgebehave_train.llm.evaluation.comparison import ComparisonConfig, compare_language_models
from edgebehave_train.llm.prompts.conversations import SMALL_CORPUS
from edgebehave_train.llm.prompts.samples import log_samples
from edgebehave_train.llm.prompts.wording import PromptConfig
from edgebehave_train.llm.scoring.language_model import LoraSettings, merge_adapter
from edgebehave_train.llm.tuning import tuning_loop
from edgebehave_train.llm.tuning.balanced_selection import SelectionConfig
from edgebehave_train.llm.tuning.behaviorlm_config import BehaviorLMConfig
from edgebehave_train.llm.tuning.progressive_tuning import resume_tuning, tune_progressively
from edgebehave_train.llm.tuning.tuned_llm import TunedLLM, sample_probs
from edgebehave_train.llm.tuning.tuning_loop import TuningConfig

QUICK = TuningConfig(epochs=1, learning_rate=3e-3, batch_size=8, autocast="float32")


@pytest.fixture(scope="module")
def store(make_store):
    """30 users; `work` and `home` are anchors, `gym`, `park` and `bar` rare."""
    rng = np.random.default_rng(0)
    events = ["work", "home", "gym", "park", "bar"]
    share = [0.49, 0.49, 0.007, 0.007, 0.006]
    users = []
    for _ in range(30):
        names = rng.choice(events, 60, p=share)
        users.append([(3600 * 5 * i, str(name), "here") for i, name in enumerate(names)])
    return make_store(users)


@pytest.fixture
def config():
    return BehaviorLMConfig(
        max_samples=24,
        max_validation=6,
        selection=SelectionConfig(per_behavior=2, pool=2),
        prompt=PromptConfig(history=3),
        lora=LoraSettings(rank=2),
        tuning=QUICK,
        balanced_tuning=QUICK,
    )


def run(store, base, config, out, **options):
    options = {"auxiliary": SMALL_CORPUS, "device": "cpu", **options}
    return tune_progressively(store, base, config, out, **options)


def adapters(tuned):
    from safetensors.torch import load_file

    return load_file(tuned.path / "adapter" / "adapter_model.safetensors")


def same(a, b):
    a, b = adapters(a), adapters(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("base", ["tiny_llama", "tiny_qwen2"])
def test_both_stages_and_the_folder_that_they_leave(store, base, config, tmp_path, request):
    told = []
    base = request.getfixturevalue(base)
    tuned = run(store, base, config, tmp_path / "out", on_progress=told.append)
    assert {file.name for file in tuned.path.iterdir()} == {
        "README.md",
        "adapter",
        "behaviorlm.json",
        "selection.json",
        "vocabulary.json",
    }
    assert tuned.is_finished
    first, second = tuned.stages
    assert (first["stage"], first["num_samples"], first["num_auxiliary"]) == ("anchor", 24, 1)
    assert second["stage"] == "balanced"
    assert second["num_samples"] == 2 * (tuned.vocabulary.num_behaviors - 1)
    assert second["num_auxiliary"] == 0
    assert sum(second["kinds"].values()) == second["num_samples"]
    assert [one.stage for one in told if one.kind == "end"] == ["anchor", "balanced"]
    scoring = [one for one in told if one.kind == "scoring"]
    assert scoring[-1].step == second["num_predicted"] <= scoring[-1].num_steps

    opened = TunedLLM.open(tuned.path)
    assert opened == tuned
    assert opened.config == config
    model, tokenizer = opened.load("cpu")
    samples = log_samples(store, "test", vocabulary=opened.vocabulary)
    samples = samples.take(np.arange(3))
    probs = sample_probs(model, opened.encoder(model, tokenizer), samples)
    assert probs.shape == (3, opened.vocabulary.num_behaviors)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert not probs[:, 0].any()


def test_the_second_stage_goes_on_from_a_tuned_model(store, tiny_llama, config, tmp_path):
    whole = run(store, tiny_llama, config, tmp_path / "whole")
    first = run(store, tiny_llama, dataclasses.replace(config, stages=("anchor",)), tmp_path / "first")
    second = run(store, first.path, dataclasses.replace(config, stages=("balanced",)), tmp_path / "second")
    assert [stage["stage"] for stage in second.stages] == ["anchor", "balanced"]
    assert second.base == whole.base == str(tiny_llama)
    assert same(second, whole)
    assert not same(first, whole)
    other = dataclasses.replace(config, stages=("balanced",), lora=LoraSettings(rank=3))
    with pytest.raises(ValueError, match="was tuned with lora"):
        run(store, first.path, other, tmp_path / "other")


def test_tokens_of_behaviors_are_tuned_stage_after_stage(store, tiny_llama, config, tmp_path):
    prompt = PromptConfig(history=3, answers="tokens", candidates="none")
    config = dataclasses.replace(config, prompt=prompt)
    whole = run(store, tiny_llama, config, tmp_path / "whole")
    first = run(store, tiny_llama, dataclasses.replace(config, stages=("anchor",)), tmp_path / "first")
    second = run(store, first.path, dataclasses.replace(config, stages=("balanced",)), tmp_path / "second")
    assert same(second, whole)
    rows = [next(value for name, value in adapters(one).items() if "behavior_rows" in name) for one in (first, second)]
    assert len(rows[0]) == whole.vocabulary.num_behaviors - 1
    assert not torch.allclose(*rows, atol=1e-5)

    model, tokenizer = second.load("cpu")
    encoder = second.encoder(model, tokenizer)
    samples = log_samples(store, "test", vocabulary=second.vocabulary)
    samples = samples.take(np.arange(3))
    assert [encoder.encode(sample).answer_ids for sample in samples] == [
        encoder.candidates[behavior - 1] for behavior in samples.behavior
    ]
    probs = sample_probs(model, encoder, samples)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    merged = merge_adapter(model)
    assert second.encoder(merged, tokenizer).candidates == encoder.candidates
    np.testing.assert_allclose(sample_probs(merged, encoder, samples), probs, atol=1e-4)

    with pytest.raises(ValueError, match="no zero-shot row"):
        compare_language_models(store, [second], ComparisonConfig(zero_shot=True))
    other = dataclasses.replace(config, prompt=PromptConfig(history=3, candidates="none"), stages=("balanced",))
    with pytest.raises(ValueError, match="was tuned with prompt"):
        run(store, first.path, other, tmp_path / "other")


@pytest.mark.parametrize("killed_in", ["anchor", "balanced"])
def test_a_killed_run_goes_on_and_ends_the_same(store, tiny_llama, config, tmp_path, monkeypatch, killed_in):
    whole = run(store, tiny_llama, config, tmp_path / "whole")
    monkeypatch.setattr(tuning_loop, "_SAVE_EVERY_S", -1.0)

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.kind == "step" and progress.stage == killed_in and progress.step == 2:
            raise KilledError

    out, corpus = tmp_path / "out", tmp_path / "corpus.jsonl"
    shutil.copy(SMALL_CORPUS, corpus)
    # Steps enough to be killed between two of them.
    with pytest.raises(KilledError):
        run(store, tiny_llama, config, out, on_progress=kill, auxiliary=corpus)
    with pytest.raises(ValueError, match="use --resume, or another folder"):
        run(store, tiny_llama, config, out)
    content = corpus.read_text(encoding="utf-8")
    corpus.write_text(content + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="was started with auxiliary_sha256"):
        resume_tuning(store, out, device="cpu")
    corpus.write_text(content, encoding="utf-8")
    if killed_in == "balanced":  # as if the stage before had been killed at its very end
        shutil.copy(out / "resume-balanced.safetensors", out / "resume-anchor.safetensors")
    told = []
    again = resume_tuning(store, out, device="cpu", on_progress=told.append)
    assert same(again, whole)
    has_scored = any(one.kind == "scoring" for one in told)
    assert has_scored == (killed_in == "anchor")
    assert not list(out.glob("resume*"))
    (out / "resume-balanced.safetensors").touch()
    with pytest.raises(ValueError, match="is finished"):
        resume_tuning(store, out)
    assert not list(out.glob("resume*"))


@pytest.mark.parametrize(
    ("stages", "num_samples", "num_auxiliary"),
    [(("all",), 24, 0), (("tail",), None, None), (("balanced",), 10, 0)],
    ids=lambda value: str(value),
)
def test_other_stages(store, tiny_llama, config, tmp_path, stages, num_samples, num_auxiliary):
    config = dataclasses.replace(config, stages=stages, auxiliary_ratio=0.2)
    (done,) = run(store, tiny_llama, config, tmp_path / "out").stages
    if num_samples is None:
        counts = log_samples(store, "train").train_counts
        assert 0 < done["num_samples"] <= counts[counts < 0.01 * counts.sum()].sum()
        num_auxiliary = round(0.25 * done["num_samples"])
    else:
        assert done["num_samples"] == num_samples
    assert done["num_auxiliary"] == num_auxiliary


def test_an_empty_tail_is_said_and_needs_no_rule(store, tiny_llama, config, tmp_path):
    config = dataclasses.replace(config, anchor_threshold=0.0001)
    with pytest.warns(UserWarning, match="there is no tail"):
        tuned = run(store, tiny_llama, config, tmp_path / "out")
    assert tuned.stages[1]["kinds"]["other category"] == 0
    tail = dataclasses.replace(config, stages=("tail",))
    with (
        pytest.warns(UserWarning, match="there is no tail"),
        pytest.raises(ValueError, match="train part holds no sample for stage tail"),
    ):
        run(store, tiny_llama, tail, tmp_path / "tail")


def test_what_cannot_be_tuned_is_refused(store, make_store, tiny_llama, config, tmp_path):
    with pytest.raises(ValueError, match="needs a corpus of conversations"):
        run(store, tiny_llama, config, tmp_path / "out", auxiliary=None)
    with pytest.raises(ValueError, match="cannot be read as a corpus"):
        run(store, tiny_llama, config, tmp_path / "no", auxiliary=tmp_path / "nothing")
    high = dataclasses.replace(config, anchor_threshold=0.9)
    with pytest.raises(ValueError, match="lower the anchor threshold"):
        run(store, tiny_llama, high, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="is not a tuned language model"):
        resume_tuning(store, tmp_path / "out")
    short = dataclasses.replace(config, max_tokens=5)
    with pytest.raises(ValueError, match="more than 5 tokens"):
        run(store, tiny_llama, short, tmp_path / "short")


def test_a_folder_is_checked(store, tiny_llama, config, tmp_path):
    tuned = run(store, tiny_llama, dataclasses.replace(config, stages=("all",)), tmp_path / "out")
    card = (tuned.path / "README.md").read_text()
    assert "| all | 24 | 0 | 1 |" in card
    file = tuned.path / "behaviorlm.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"base_version": "sha256:0"}))
    with pytest.raises(ValueError, match="is not the model that"):
        TunedLLM.open(tuned.path).load("cpu")
    file.write_text(json.dumps(content | {"template_version": "sha256:0"}))
    with pytest.raises(ValueError, match="has another chat template"):
        TunedLLM.open(tuned.path).load("cpu")
    del content["template_version"]  # as in folders from before it was noted
    file.write_text(json.dumps(content))
    TunedLLM.open(tuned.path).load("cpu")
    file.write_text(json.dumps(content | {"format_version": 9}))
    with pytest.raises(ValueError, match="is of version 9"):
        TunedLLM.open(tuned.path)
    file.write_text(json.dumps(content | {"readable_names": ["a"]}))
    with pytest.raises(ValueError, match="1 names for"):
        TunedLLM.open(tuned.path)
    file.write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        TunedLLM.open(tuned.path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": ()},
        {"stages": ("anchor", "anchor")},
        {"stages": ("head",)},
        {"anchor_threshold": 1.0},
        {"auxiliary_ratio": -0.1},
        {"max_samples": 0},
        {"seed": -1},
    ],
    ids=str,
)
def test_a_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BehaviorLMConfig(**wrong)


def test_a_config_survives_json(config):
    content = json.loads(json.dumps(config.to_json()))
    assert BehaviorLMConfig.from_json(content) == config


def test_a_config_of_earlier_versions_opens(config):
    content = json.loads(json.dumps(config.to_json()))
    del content["prompt"]["answers"]
    del content["prompt"]["location_of_next"]
    content["prompt"]["place_of_next"] = True
    assert BehaviorLMConfig.from_json(content).prompt == PromptConfig(history=3, location_of_next=True)


def test_a_base_whose_context_is_shorter_than_the_prompt_is_refused(store, tiny_llama, config, tmp_path):
    base = tmp_path / "short"
    shutil.copytree(tiny_llama, base)
    content = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(content | {"max_position_embeddings": 64}))
    with pytest.raises(
        ValueError, match=r"^a prompt with one past behavior has .* but the model reads 64 .*$"
    ) as error:
        run(store, base, config, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_base_without_a_chat_template_is_tuned_with_a_warning(store, tiny_llama, config, tmp_path):
    base = tmp_path / "plain"
    shutil.copytree(tiny_llama, base)
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.warns(UserWarning, match=r"has no chat template; prompts are written plainly") as caught:
        assert run(store, base, dataclasses.replace(config, stages=("anchor",)), tmp_path / "out").is_finished
    assert not any("\n" in str(one.message) for one in caught if "chat template" in str(one.message))


def test_a_selection_that_was_killed_predicts_no_sample_twice(store, tiny_llama, config, tmp_path, monkeypatch):
    from edgebehave_train.llm.tuning import progressive_tuning

    monkeypatch.setattr(progressive_tuning, "_SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(progressive_tuning, "_PREDICTED_AT_ONCE", 3)
    wanted = run(store, tiny_llama, config, tmp_path / "whole")

    def kill(progress):
        if progress.kind == "scoring" and progress.step >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, tiny_llama, config, tmp_path / "out", on_progress=kill)
    assert len(json.loads((tmp_path / "out" / "predicted.json").read_text())) == 3
    told = []
    resumed = resume_tuning(store, tmp_path / "out", device="cpu", on_progress=told.append)
    assert next(one.step for one in told if one.kind == "scoring") == 6
    assert same(resumed, wanted)
    assert not (tmp_path / "out" / "predicted.json").exists()


def test_a_name_that_begins_another_is_told_in_one_line(make_store, tiny_llama, config, tmp_path):
    users = [
        [(3600 * i, ("work", "work late", "home")[(i + user) % 3], "here") for i in range(12)] for user in range(30)
    ]
    settings = dataclasses.replace(config, stages=("all",))
    with pytest.warns(UserWarning, match="1 names of behaviors begin others, as 'work'"):
        tuned = run(make_store(users), tiny_llama, settings, tmp_path / "out")
    model, tokenizer = tuned.load("cpu")
    encoder = tuned.encoder(model, tokenizer)
    ends = [answer == scored for answer, scored in zip(encoder.answers, encoder.candidates, strict=True)]
    assert [tuned.names[c + 1] for c, has_end in enumerate(ends) if has_end] == ["work"]
