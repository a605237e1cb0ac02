"""A package beside edgebehave adds an objective, a baseline and a metric without an edit of edgebehave."""

import json
import sys
import textwrap

import pytest
from command_line import edgebehave

from edgebehave_train.extensions import METRIC_GROUP, OBJECTIVE_GROUP, extension_names, load_extension
from edgebehave_train.training.objectives import ObjectiveConfig, build_objective
from edgebehave_train.training.pretraining import pretrain

MODULE = """
    import numpy as np

    from edgebehave_train.metrics.ranking import Ranking
    from edgebehave_train.training.objectives import Objective


    class Hinged(Objective):
        '''Losses below a floor count as the floor.'''

        def target_loss(self, nll_M, log_normalizer_M, target_M):
            return nll_M.clamp_min(self.config.options.get("floor", 0.0))


    def hinged(config, behavior_counts_V):
        return Hinged(config)


    def always_the_first(log, targets):
        ranking = Ranking(targets)
        scores_RC = np.zeros((len(targets), log.num_candidates))
        scores_RC[:, 1] = 1
        ranking.add(slice(None), scores_RC)
        return ranking.finish()


    def hit_of_known(predictions):
        '''HR@1 of the targets that training knows.'''
        hit = (predictions.predicted == predictions.targets.behavior).astype(float)
        return np.where(predictions.targets.behavior > 0, hit, np.nan)
"""
ENTRY_POINTS = """
    [edgebehave.objectives]
    hinged = own_parts:hinged

    [edgebehave.baselines]
    always_the_first = own_parts:always_the_first

    [edgebehave.metrics]
    hit_of_known = own_parts:hit_of_known
"""


def install(folder, entry_points=ENTRY_POINTS, name="own-parts"):
    """The files that pip would write for a package of one module."""
    (folder / "own_parts.py").write_text(textwrap.dedent(MODULE))
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(textwrap.dedent(entry_points))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of installed packages, empty at first."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("own_parts", None)


def test_all_three_stand_in_compare_and_evaluate(packages, tiny_store, recipe, tmp_path, monkeypatch):
    install(packages)
    tiny = ["--preset", "tiny", "--epochs", "1", "--no-habits", "--set", "width=16", "--set", "num_heads=1"]
    run = tmp_path / "run"
    own = ["--objective", "hinged", "--set", 'objective.options={"floor": 0.5}']
    edgebehave("train", tiny_store.path, "-o", run, *tiny, *own)
    assert json.loads((run / "config.json").read_text())["train"]["objective"]["options"] == {"floor": 0.5}

    out, _ = edgebehave("evaluate", run, "--store", tiny_store.path, "--resamples", 10, "--no-variants", "--json")
    rows = {row["name"]: row["metrics"] for row in json.loads(out)["rows"]}
    popular = rows["always_the_first"]
    assert popular["hit_of_known"][0] >= popular["hr_at_1"][0] > 0
    out, _ = edgebehave("evaluate", run, "--store", tiny_store.path, "--resamples", 10, "--no-variants")
    assert "always the first" in out
    assert "hit of known" in out

    compared = tmp_path / "compared"
    out, _ = edgebehave(
        "compare", tiny_store.path, "-o", compared, "--objectives", "ce,hinged", "--seeds", 1, "--adjust", "0.5", *tiny
    )
    assert "hinged, adjusted tau 0.5" in out
    assert "always the first" in out
    assert "hit of known" in out.splitlines()[2] + out.splitlines()[1]

    # A checkpoint needs neither the package of its objective nor that of a metric.
    sys.path.remove(str(packages))
    out, _ = edgebehave("evaluate", run, "--store", tiny_store.path, "--resamples", 10, "--no-variants")
    assert "hit of known" not in out
    edgebehave("export", run, "--store", tiny_store.path, "-o", tmp_path / "bundle")
    monkeypatch.syspath_prepend(str(packages))


def test_an_unknown_objective_is_refused_before_the_log_is_read(packages, tmp_path, recipe):
    install(packages)
    config = recipe(objective=ObjectiveConfig(name="hinge"))
    with pytest.raises(ValueError, match=r"objective must be one of ce, dro, .*, group_dro, hinged, got 'hinge'"):
        pretrain(None, config, tmp_path / "run")


def test_options_are_for_objectives_of_other_packages():
    with pytest.raises(ValueError, match=r"objective\.options are for objectives of other packages; dro has none"):
        build_objective(ObjectiveConfig(name="dro", options={"floor": 1}), [0, 2, 3])


@pytest.mark.parametrize(
    ("group", "name"),
    [("edgebehave.objectives", "dro"), ("edgebehave.baselines", "habits"), ("edgebehave.metrics", "macro_recall")],
)
def test_a_name_that_is_built_in_is_refused(packages, group, name):
    install(packages, f"[{group}]\n{name} = own_parts:hinged\n")
    with pytest.raises(ValueError, match=f"own-parts adds '{name}' to {group}, which is built in"):
        extension_names(group, [name])


def test_two_packages_with_one_name_are_refused(packages):
    install(packages)
    install(packages, ENTRY_POINTS.replace(":hinged", ":other"), name="rival")
    with pytest.raises(ValueError, match=r"both add 'hinged' to edgebehave\.objectives"):
        extension_names(OBJECTIVE_GROUP)


def test_a_package_that_cannot_be_imported_is_named(packages):
    install(packages, "[edgebehave.metrics]\nlost = own_parts:lost\n")
    with pytest.raises(ValueError, match=r"'lost' of edgebehave\.metrics cannot be loaded from own-parts: "):
        load_extension(METRIC_GROUP, "lost")
