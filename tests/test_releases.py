"""A release: all packages have one version, and the workflows that build and publish them are in order."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import edgebehave

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def workflow(name):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))


def commands(jobs):
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_all_packages_have_the_same_version():
    def found(path, pattern):
        return re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)[1]

    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    npm = json.loads((ROOT / "clients/npm/package.json").read_text(encoding="utf-8"))
    assert npm["version"] == edgebehave.__version__ == version
    assert found("clients/kotlin/build.gradle.kts", r'^version = "(.+)"') == version
    assert found("CITATION.cff", r"^version: (.+)") == version
    for lock in ("clients/npm", "examples/node", "examples/browser"):
        packages = json.loads((ROOT / lock / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        assert packages["" if lock == "clients/npm" else "../../clients/npm"]["version"] == version, lock


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_secret_and_few_rights(path):
    jobs = workflow(path.name)["jobs"]
    assert workflow(path.name)["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text(encoding="utf-8")
    for name, job in jobs.items():
        assert job["runs-on"].startswith("ubuntu"), name
        assert all(("uses" in step) != ("run" in step) for step in job["steps"]), name
        needed = job.get("needs", [])
        assert set([needed] if isinstance(needed, str) else needed) <= set(jobs), name


def test_ci_runs_what_runs_before_a_merge():
    assert commands(workflow("ci.yml")["jobs"]) == ["bash .ci/run"]


def test_a_tag_releases_wheel_npm_package_and_pages():
    release = workflow("release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    jobs = release["jobs"]
    assert commands(jobs)[0] == 'make release VERSION="${GITHUB_REF_NAME#v}"'
    for name in ("pypi", "npm", "docs"):
        assert jobs[name]["needs"] == "build"
        assert jobs[name]["permissions"]["id-token"] == "write", "trusted publishing"
    kept = {step["with"]["name"] for step in jobs["build"]["steps"] if "upload-artifact" in step.get("uses", "")}
    taken = {step["with"]["name"] for job in jobs.values() for step in job["steps"] if "download" in str(step)}
    assert kept == taken == {"python", "npm"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for folder in ("release/python", "release/npm", "release/docs"):
        assert folder in makefile
