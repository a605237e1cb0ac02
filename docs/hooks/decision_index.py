"""The index at the top of docs/decisions.md, made from the records below it.

    python docs/hooks/decision_index.py

writes it anew. A record is a heading, a line `*DATE, TOPIC. STATE*` and its text; the state is "Holds." or says what
replaced it. Raises SystemExit that names a record without that line.
"""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "decisions.md"
BEGIN, END = "<!-- index -->\n", "<!-- /index -->\n"
_RECORD = re.compile(r"## (?P<title>.+)\n\n\*(?P<date>\d{4}-\d\d-\d\d), (?P<topic>[\w ,]+)\. (?P<state>[^*]+)\*\n")


def with_index(page: str) -> str:
    """The page with its index made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, records = rest.partition(END)
    return f"{head}{BEGIN}{index(records)}{END}{records}"


def index(records: str) -> str:
    """A table per topic, in the order in which the topics come first."""
    found = [
        {name: " ".join(text.split()) for name, text in record.groupdict().items()}
        for record in _RECORD.finditer(records)
    ]
    titles = re.findall(r"^## (.+)$", records, re.MULTILINE)
    missing = [title for title in titles if title not in [record["title"] for record in found]]
    if missing:
        raise SystemExit(f"decisions.md: no line `*DATE, TOPIC. STATE*` below {missing[0]!r}")
    lines = ["\n| topic | decision | date | state |", "|---|---|---|---|"]
    for topic in dict.fromkeys(record["topic"] for record in found):
        for record in found:
            if record["topic"] == topic:
                link = f"[{record['title'].replace('`', '')}](#{anchor(record['title'])})"
                lines.append(f"| {topic} | {link} | {record['date']} | {record['state']} |")
    return "\n".join([*lines, "", ""])


def anchor(title: str) -> str:
    """The anchor of a heading, on the site and on GitHub."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(with_index(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
