"""The installed packages that edgebehave uses, and problems with them. Needs the standard library and the runtime."""

import importlib
import json
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import edgebehave
from edgebehave import Predictor
from edgebehave.version import __version__

EXTRAS = {
    "cpu": "models of bundles and the universal model",
    "gpu": "the same on NVIDIA GPUs",
    "train": "ingest, train, evaluate, report",
    "export": "export and bench",
    "cli": "the command line",
    "llm": "language models",
    "llm-onnx": "language models as ONNX",
    "hub": "push and pull checkpoints and bundles",
    "xlsx": "Excel workbooks as logs",
    "spark": "Spark",
    "flash": "FlashAttention on GPUs",
}
"""Extras that a user may want, and what each is for."""

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""Both install the same module."""

_OTHER_RUNTIME = {"cpu": "gpu", "gpu": "cpu"}


@dataclass(frozen=True, kw_only=True)
class Extra:
    """State of an extra.

    missing  packages that are not installed.
    wrong    packages of another version than the extra needs, a line each.
    """

    name: str
    purpose: str
    missing: Sequence[str]
    wrong: Sequence[str]

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.wrong

    @property
    def command(self) -> str:
        return f"pip install 'edgebehave[{self.name}]'"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that is known about an installation.

    versions  of the packages that matter and are installed, by name.
    facts     other lines about it, by name.
    problems  what is wrong, each with what to do; none if all is well.
    """

    versions: Mapping[str, str]
    facts: Mapping[str, str]
    extras: Sequence[Extra]
    problems: Sequence[str]

    def lines(self) -> Iterator[str]:
        """The diagnosis as text; the problems come last."""
        for name, fact in self.facts.items():
            yield f"{name}: {fact}"
        yield "installed: " + ", ".join(f"{name} {version}" for name, version in self.versions.items())
        for extra in self.extras:
            other = _OTHER_RUNTIME.get(extra.name)
            if extra.is_whole:
                state = "installed"
            elif any(one.name == other and one.is_whole for one in self.extras):
                state = f"not installed; never beside {other}"
            else:
                state = "; ".join([*(f"no {name}" for name in extra.missing), *extra.wrong, extra.command])
            yield f"extra {extra.name}, {extra.purpose}: {state}"
        for problem in self.problems:
            yield f"problem: {problem}"
        if not self.problems:
            yield "no problem found"

    def to_json(self) -> dict[str, Any]:
        """Versions, facts, extras and problems."""
        return {
            "versions": dict(self.versions),
            "facts": dict(self.facts),
            "extras": [
                {"name": e.name, "missing": list(e.missing), "wrong": list(e.wrong), "command": e.command}
                for e in self.extras
            ],
            "problems": list(self.problems),
        }


def diagnose(version_of: Callable[[str], str | None] | None = None) -> Diagnosis:
    """Look at the installation that runs this; torch is imported if it is there, which takes a second or two.

    version_of  of a package, None if it is not installed; default: that of this environment.
    """
    version_of = version_of or installed_version
    requirements = list(_requirements())
    extras = [
        _extra(name, purpose, requirements, version_of)
        for name, purpose in EXTRAS.items()
        if any(one.extra == name for one in requirements)
    ]
    packages = dict.fromkeys(["numpy", *(one.package for one in requirements if one.extra in EXTRAS)])
    versions = {package: version for package in packages if (version := version_of(package))}
    # A package of another version is a problem where all others of its extra are there: who has few of them uses none.
    wrong = {line: extra.command for extra in reversed(extras) if not extra.missing for line in extra.wrong}
    wrong |= dict.fromkeys(_wrong_versions(requirements, "", version_of), "pip install --upgrade edgebehave")
    problems = [f"{line}; {command}" for line, command in wrong.items()] + runtime_problems(versions)
    facts = {
        "edgebehave": f"{__version__}, {Path(edgebehave.__file__).parent}",
        "Python": f"{platform.python_version()}, {sys.executable}",
        "system": platform.platform(),
    }
    for name, look in (("model of the package", _first_prediction), ("torch runs on", _torch_device)):
        try:
            fact = look(versions)
        except Exception as error:  # whatever ends it is the finding
            problems.append(f"{name}: {type(error).__name__}: {error}")
        else:
            facts |= {name: fact} if fact else {}
    return Diagnosis(versions=versions, facts=facts, extras=extras, problems=problems)


def main(json_wanted: bool) -> int:
    """Print the diagnosis of the installation alone; the exit status."""
    found = diagnose()
    print(json.dumps(found.to_json(), indent=2) if json_wanted else "\n".join(found.lines()))
    return int(bool(found.problems))


def runtime_problems(versions: Mapping[str, str]) -> list[str]:
    """Of ONNX Runtime: missing, or installed twice."""
    present = [name for name in RUNTIMES if name in versions]
    if not present:
        return ["no ONNX Runtime: no model runs, the SDK answers by habits alone; pip install 'edgebehave[cpu]'"]
    if len(present) > 1:
        return [
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; "
            "pip uninstall --yes onnxruntime onnxruntime-gpu, then pip install 'edgebehave[cpu]' or 'edgebehave[gpu]'"
        ]
    return []


def installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One line of what edgebehave needs.

    bounds  as (">=", "1.26").
    extra   "" for the runtime.
    """

    package: str
    bounds: Sequence[tuple[str, str]]
    extra: str

    def accepts(self, version: str) -> bool:
        return all(_OPERATORS[operator](_numbers(version), _numbers(bound)) for operator, bound in self.bounds)


_OPERATORS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
}


def read_requirement(line: str) -> Requirement:
    """A requirement as the metadata of a package have it; bounds other than >= and < are left out."""
    found = re.match(r"\s*([\w.-]+)(?:\[[^\]]*\])?\s*([^;]*)", line)
    assert found is not None, line
    extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
    bounds = re.findall(r"(>=|<)\s*([\d.]+)", found[2])
    return Requirement(package=found[1], bounds=bounds, extra=extra[1] if extra else "")


def _requirements() -> Iterator[Requirement]:
    """Of the installed edgebehave; none where it runs from a source tree that is not installed."""
    try:
        lines = metadata.requires("edgebehave") or []
    except metadata.PackageNotFoundError:
        lines = []
    return map(read_requirement, lines)


def _extra(
    name: str, purpose: str, requirements: Sequence[Requirement], version_of: Callable[[str], str | None]
) -> Extra:
    missing = [one.package for one in requirements if one.extra == name and version_of(one.package) is None]
    return Extra(
        name=name, purpose=purpose, missing=missing, wrong=list(_wrong_versions(requirements, name, version_of))
    )


def _wrong_versions(
    requirements: Sequence[Requirement], extra: str, version_of: Callable[[str], str | None]
) -> Iterator[str]:
    for one in requirements:
        version = version_of(one.package) if one.extra == extra else None
        if version is not None and not one.accepts(version):
            bounds = ",".join(operator + bound for operator, bound in one.bounds)
            yield f"{one.package} {version} does not fit, edgebehave needs {bounds}"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13, 0) of 2.13.0+cpu; zeros at the end do not count."""
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _first_prediction(versions: Mapping[str, str]) -> str:
    """The model of the package and what it runs on, after one prediction."""
    predictor = Predictor()
    predictor.observe("doctor", "a check")
    predictor.predict("doctor")
    return f"{predictor.model}, on {', '.join(predictor.providers) or 'numpy'}"


def _torch_device(versions: Mapping[str, str]) -> str | None:
    """What torch runs on; None if it is not installed."""
    if "torch" not in versions:
        return None
    torch: Any = importlib.import_module("torch")
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else "the CPU"
