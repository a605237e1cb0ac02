"""Pages of the site: those of docs/, those that lie outside it, and the reference of the verbs.

A page is written for readers of the repository, too. So links to sources lead out of docs/, and lists and tables may
follow a paragraph at once. Here the former become links to the repository, or plain words if `repo_url` is not set in
mkdocs.yml; the latter get the empty line that they need.
"""

import os
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

from verb_reference import verb_reference

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "readme.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "research/README.md": "research.md",
    "examples/README.md": "examples.md",
}
"""{file in the repository: page of the site}."""
SOURCES = {page: source for source, page in OUTSIDE.items()}


def on_files(files: Any, config: Any) -> Any:
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    name = page.file.src_uri
    source = SOURCES.get(name, f"docs/{name}")
    prose = with_empty_lines(with_links(markdown, source, config.repo_url))
    return prose.replace("<!-- verbs -->", verb_reference()) if name == "cli.md" else prose


def with_links(markdown: str, source: str, repository: str | None) -> str:
    """Links of a file of the repository as links of the site."""
    here = PurePosixPath(OUTSIDE.get(source, source.removeprefix("docs/"))).parent

    def link(found: re.Match[str]) -> str:
        label, target = found[1], found[2]
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return found[0]
        path = os.path.normpath(PurePosixPath(source).parent / path)
        page = path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE.get(path)
        if page:
            page = os.path.relpath(page, here).replace(os.sep, "/")
            return f"[{label}]({page}{'#' + anchor if anchor else ''})"
        return f"[{label}]({repository.rstrip('/')}/blob/main/{path})" if repository else label

    return re.sub(r"(?<!!)\[([^\]\n]*(?:\n[^\]\n]*)?)\]\(([^)\s]+)\)", link, markdown)


def with_empty_lines(markdown: str) -> str:
    """An empty line before each list and table that follows a line of prose."""
    lines: list[str] = []
    in_code = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        begins = [re.match(r"([-*] |\d+\. )", line), line.startswith("|")]
        continues = [re.match(r"\s*([-*] |\d+\. )|\s{2,}\S", before), before.startswith("|")]
        if not in_code and before.strip() and any(b and not c for b, c in zip(begins, continues, strict=True)):
            lines.append("")
        in_code ^= line.lstrip().startswith("```")
        lines.append(line)
    return "\n".join(lines)
