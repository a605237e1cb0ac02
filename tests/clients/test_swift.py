"""The Swift client is not compiled; its syntax is that of Swift, and it has the calls of the Kotlin client."""

import re
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parents[2] / "clients"
FILES = sorted((CLIENTS / "swift").rglob("*.swift"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_parses(path):
    tree_sitter = pytest.importorskip("tree_sitter")
    swift = pytest.importorskip("tree_sitter_swift")
    parser = tree_sitter.Parser(tree_sitter.Language(swift.language()))
    wrong, left = [], [parser.parse(path.read_bytes()).root_node]
    while left:
        node = left.pop()
        left += node.children
        if node.type == "ERROR" or node.is_missing:
            wrong.append((node.start_point[0] + 1, node.text))
    assert wrong == []


def test_it_has_the_calls_of_the_kotlin_client():
    swift = (CLIENTS / "swift/Sources/Edgebehave/Predictor.swift").read_text(encoding="utf-8")
    kotlin = (CLIENTS / "kotlin/src/main/kotlin/edgebehave/Predictor.kt").read_text(encoding="utf-8")
    calls = set(re.findall(r"^    (?:fun|val) (\w+)", kotlin, re.MULTILINE))
    assert calls == set(re.findall(r"^  public (?:func|var) (\w+)", swift, re.MULTILINE))
    assert {"observe", "predict", "predictionSet", "knownShare", "history"} <= calls
