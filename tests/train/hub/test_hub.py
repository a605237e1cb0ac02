"""Push and pull of checkpoints and bundles: to a folder, and to a stand-in for huggingface.co."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import edgebehave

from edgebehave import BundleError, Predictor
from edgebehave.bundles.manifest import digested_manifest
from edgebehave.bundles.universal_bundle import SHIPPED
from edgebehave_train import Checkpoint, from_pretrained, push_to_hub
from edgebehave_train.hub import hub as hub_module
from edgebehave_train.hub.contents import read_contents
from edgebehave_train.hub.hub import check_repo_id, pull

BUNDLE = Path(__file__).parents[2] / "edgebehave" / "tiny_bundle" / "int8"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def header(card: str) -> dict:
    """The YAML between the two lines of dashes."""
    yaml = pytest.importorskip("yaml", reason="the header is read with PyYAML")
    assert card.startswith("---\n")
    return yaml.safe_load(card[4:].partition("\n---\n")[0])


def test_a_bundle_goes_to_a_folder_and_comes_back(tmp_path):
    place = push_to_hub(BUNDLE, "ada/next", hub=tmp_path / "hub", license="apache-2.0", log='"phones", 2026')
    assert place == str(tmp_path / "hub" / "ada" / "next")
    predictor = from_pretrained("ada/next", hub=tmp_path / "hub", out=tmp_path / "here")
    assert isinstance(predictor, Predictor)
    for path in BUNDLE.iterdir():
        assert (tmp_path / "here" / path.name).read_bytes() == path.read_bytes()
    assert names(tmp_path / "here") == names(BUNDLE)
    card = (tmp_path / "hub" / "ada" / "next" / "README.md").read_text()
    assert header(card)["license"] == "apache-2.0"
    assert header(card)["library_name"] == "edgebehave"
    assert "onnx" in header(card)["tags"]
    assert 'from_pretrained("ada/next")' in card
    digest = json.loads((BUNDLE / "manifest.json").read_text())["digest"]
    for part in ("## Intended use", "## Limits", "## License", "names of events", f"`{digest}`", '"phones", 2026'):
        assert part in card


def test_the_universal_bundle_travels_too(tmp_path):
    push_to_hub(SHIPPED, "universal", hub=tmp_path / "hub")
    predictor = from_pretrained("universal", hub=tmp_path / "hub", out=tmp_path / "here")
    predictor.observe("me", "a")
    assert predictor.predict("me")[0].behavior == "a"


@pytest.fixture
def trained(tiny_checkpoint, tmp_path) -> Path:
    """A checkpoint with metrics, and with files beside it that are nobody's business."""
    run = Path(shutil.copytree(tiny_checkpoint.path, tmp_path / "run"))
    (run / "report.html").write_text("<p>user_1 did this")
    (run / "weights.pickle").write_bytes(b"")
    return run


def test_a_checkpoint_comes_back_with_its_weights_and_nothing_else_travels(trained, tmp_path):
    push_to_hub(trained, "ada/weights", hub=tmp_path / "hub", data=["collected in 2026"])
    there = tmp_path / "hub" / "ada" / "weights"
    assert not {"report.html", "weights.pickle"} & names(there)
    back = from_pretrained("ada/weights", hub=tmp_path / "hub", out=tmp_path / "back")
    assert isinstance(back, Checkpoint)
    ours, theirs = Checkpoint.open(trained).load_model().state_dict(), back.load_model().state_dict()
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy()) for name in ours)
    card = (there / "README.md").read_text()
    assert "safetensors" in header(card)["tags"]
    assert "- collected in 2026" in card
    assert back.training.data_fingerprint in card


def test_measured_figures_stand_in_the_header_and_beside_the_best_baseline(trained, tmp_path):
    rows = {
        "most_popular": {"hr_at_1": 0.2, "hr_at_3": 0.4, "macro_recall": None},
        "habits": {"hr_at_1": 0.3, "hr_at_3": 0.5, "macro_recall": 0.1},
        "run": {"hr_at_1": 0.35, "hr_at_3": 0.55, "macro_recall": 0.12},
        "run, no query time": {"hr_at_1": 0.9, "hr_at_3": 0.9, "macro_recall": 0.9},
    }
    (trained / "metrics.json").write_text(json.dumps({"test_reads": [], "validation": rows}))
    push_to_hub(trained, "weights", hub=tmp_path / "hub", log="phones")
    card = (tmp_path / "hub" / "weights" / "README.md").read_text()
    (entry,) = header(card)["model-index"]
    (result,) = entry["results"]
    assert result["dataset"] == {"type": "event-log", "name": "phones", "split": "validation"}
    assert {m["type"]: m["value"] for m in result["metrics"]} == {
        "hr_at_1": 0.35,
        "hr_at_3": 0.55,
        "macro_recall": 0.12,
    }
    assert "| best baseline: habits | 0.300 | 0.500 | 0.100 |" in card


def test_a_card_that_was_not_measured_says_so(trained, tmp_path):
    (trained / "metrics.json").unlink(missing_ok=True)
    push_to_hub(trained, "weights", hub=tmp_path / "hub")
    card = (tmp_path / "hub" / "weights" / "README.md").read_text()
    assert "Not measured" in card
    assert "model-index" not in header(card)


def test_a_second_push_replaces_and_a_foreign_folder_stays(trained, tmp_path):
    push_to_hub(BUNDLE, "m", hub=tmp_path)
    push_to_hub(trained, "m", hub=tmp_path)
    assert "manifest.json" not in names(tmp_path / "m")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds 'letter\.txt'"):
        push_to_hub(BUNDLE, "theirs", hub=tmp_path)
    with pytest.raises(ValueError, match=r"holds 'letter\.txt'"):
        pull("m", tmp_path / "theirs", hub=tmp_path, overwrite=True)


def test_the_digest_pins_what_comes(trained, tmp_path):
    push_to_hub(BUNDLE, "b", hub=tmp_path / "hub")
    push_to_hub(trained, "c", hub=tmp_path / "hub")
    for name, folder in (("b", BUNDLE), ("c", trained)):
        digest = read_contents(folder).digest
        assert pull(name, tmp_path / name, hub=tmp_path / "hub", digest=digest).digest == digest
        with pytest.raises(ValueError, match="has the digest"):
            pull(name, tmp_path / "other", hub=tmp_path / "hub", digest="0" * 64)
        with pytest.raises(ValueError, match="has the digest"):
            from_pretrained(tmp_path / name, digest="0" * 64)
        assert not (tmp_path / "other").exists()


def test_a_large_bundle_opens_by_its_digest(monkeypatch):
    for module in ("bundle", "manifest"):
        monkeypatch.setattr(f"edgebehave.bundles.{module}.MAX_BUNDLE_BYTES", 1000)
    assert from_pretrained(BUNDLE, digest=read_contents(BUNDLE).digest).model == BUNDLE.name
    with pytest.raises(BundleError, match="opens with the digest"):
        from_pretrained(BUNDLE)


@pytest.mark.parametrize("repo_id", ["", "..", "a/../b", "/etc", "a/b/c", "a b", "a\n", ".hidden"])
def test_ids_that_lead_elsewhere(repo_id):
    with pytest.raises(ValueError, match="a repository is called owner/name"):
        check_repo_id(repo_id)


@pytest.mark.parametrize("name", ["../../stolen", "sub/graph.onnx", "weights.PICKLE", "/etc/passwd"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused_before_it_is_copied(name, tmp_path, monkeypatch):
    there = shutil.copytree(BUNDLE, tmp_path / "hub" / "evil")
    manifest = json.loads((there / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 3}
    (there / "manifest.json").write_bytes(digested_manifest(manifest))
    asked = []
    copy = hub_module.FolderHub.copy
    monkeypatch.setattr(hub_module.FolderHub, "copy", lambda *given: [asked.append(given[3]), copy(*given)])
    with pytest.raises(BundleError, match="not a file name of a bundle"):
        pull("evil", tmp_path / "here", hub=tmp_path / "hub")
    assert asked == ["manifest.json"]
    assert not (tmp_path / "here").exists()


def test_downloads_have_a_place_of_their_own_and_are_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_module, "DOWNLOADS", tmp_path / "downloads")
    push_to_hub(BUNDLE, "ada/next", hub=tmp_path / "hub")
    for _ in range(2):
        from_pretrained("ada/next", hub=tmp_path / "hub")
        assert names(tmp_path / "downloads") == {"ada--next"}
    push_to_hub(SHIPPED, "ada/next", hub=tmp_path / "hub")
    from_pretrained("ada/next", hub=tmp_path / "hub")
    assert names(tmp_path / "downloads" / "ada--next") == names(SHIPPED)


def test_damage_leaves_nothing(trained, tmp_path):
    push_to_hub(trained, "m", hub=tmp_path / "hub")
    weights = tmp_path / "hub" / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(ValueError, match="damaged"):
        pull("m", tmp_path / "here", hub=tmp_path / "hub")
    assert not (tmp_path / "here").exists()
    with pytest.raises(ValueError, match="damaged"):
        push_to_hub(tmp_path / "hub" / "m", "again", hub=tmp_path / "hub")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="neither a checkpoint nor a bundle"):
        push_to_hub(tmp_path / "empty", "m", hub=tmp_path / "hub")
    with pytest.raises(ValueError, match="holds no other"):
        pull("other", tmp_path / "here", hub=tmp_path / "hub")
    with pytest.raises(ValueError, match="a folder has no revisions"):
        pull("m", tmp_path / "here", hub=tmp_path / "hub", revision="main")


def test_huggingface_gets_the_files_in_one_commit_of_a_private_repository(monkeypatch, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    stored, said = {}, []

    class Api:
        def __init__(self, library_name):
            assert library_name == "edgebehave"

        def create_repo(self, repo_id, private, exist_ok):
            said.append((repo_id, private, exist_ok))

        def create_commit(self, repo_id, operations, commit_message):
            said.append(commit_message)
            for one in operations:
                content = one.path_or_fileobj
                stored[one.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
            return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")

        def list_repo_files(self, repo_id, revision):
            if repo_id == "ada/none":
                error = huggingface_hub.errors.RepositoryNotFoundError
                raise error.__new__(error)
            return [*stored, "pytorch_model.bin"]

        def hf_hub_download(self, repo_id, name, revision):
            assert revision == "v1"
            blob = tmp_path / f"blob-{name}"
            blob.write_bytes(stored[name])
            link = tmp_path / f"link-{name}"
            link.symlink_to(blob)
            return str(link)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert push_to_hub(BUNDLE, "ada/next") == "https://huggingface.co/ada/next/commit/1"
    assert said[0] == ("ada/next", True, True)
    assert said[1].startswith("A bundle of edgebehave, digest ")
    assert stored.keys() == names(BUNDLE) | {"README.md"}
    pulled = pull("ada/next", tmp_path / "here", revision="v1")
    assert names(tmp_path / "here") == names(BUNDLE)
    assert not any(path.is_symlink() for path in pulled.path.iterdir())
    with pytest.raises(ValueError, match=r"huggingface\.co has no ada/none"):
        pull("ada/none", tmp_path / "there")


def test_huggingface_out_of_reach_is_one_line(monkeypatch, tmp_path):
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    unreachable = type("ConnectError", (Exception,), {"__module__": "httpx"})

    class Api:
        def __init__(self, library_name): ...

        def create_repo(self, repo_id, private, exist_ok):
            raise unreachable("Name or service\nnot known")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(ValueError, match=r"huggingface\.co: Name or service not known; check the network"):
        push_to_hub(BUNDLE, "ada/next")


def test_the_verbs(tmp_path):
    _, err = edgebehave("push", BUNDLE, "ada/next", "--hub", tmp_path / "hub", "--license", "mit")
    assert str(tmp_path / "hub" / "ada" / "next") in err
    _, err = edgebehave("pull", "ada/next", "-o", tmp_path / "here", "--hub", tmp_path / "hub")
    assert f"digest {read_contents(BUNDLE).digest}" in err
    _, err = edgebehave("pull", "ada/next", "-o", tmp_path / "here", "--hub", tmp_path / "hub", code=2)
    assert "use --overwrite" in err
    edgebehave("pull", "ada/next", "-o", tmp_path / "here", "--hub", tmp_path / "hub", "--overwrite")
