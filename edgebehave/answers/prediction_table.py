"""The predictions of several users: a list of lists that shows itself as a table."""

import html
import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from edgebehave.answers.prediction import Prediction

_SHOWN = 10


class PredictionTable(list[list[Prediction]]):
    """One list of predictions per user, in the order in which they were asked about.

    users  their names.
    """

    def __init__(self, users: Sequence[str] = (), answers: Iterable[list[Prediction]] = ()) -> None:
        super().__init__(answers)
        self.users = list(users)

    def columns(self) -> dict[str, list[Any]]:
        """user, rank (1 is the most probable), behavior, probability: a row per prediction, for any kind of table."""
        rows = [
            (user, rank, *prediction)
            for user, answer in zip(self.users, self, strict=True)
            for rank, prediction in enumerate(answer, start=1)
        ]
        names = ("user", "rank", "behavior", "probability")
        return {name: [row[i] for row in rows] for i, name in enumerate(names)}

    def to_pandas(self) -> Any:
        """`columns` as a pandas.DataFrame. Raises ImportError without pandas."""
        # By its name: the package does not depend on it.
        return importlib.import_module("pandas").DataFrame(self.columns())

    def __repr__(self) -> str:
        return f"PredictionTable({len(self):,} users, {sum(map(len, self)):,} predictions)"

    def _repr_html_(self) -> str:
        """The first users as a table, for a notebook."""
        head = "<tr><th>user</th><th>predictions</th></tr>"
        lines = [
            f"<tr><td>{html.escape(user)}</td>"
            f"<td>{', '.join(f'{html.escape(p.behavior)} {p.probability:.2f}' for p in answer)}</td></tr>"
            for user, answer in zip(self.users[:_SHOWN], self, strict=False)
        ]
        more = f"<caption>{_SHOWN} of {len(self):,} users</caption>" if len(self) > _SHOWN else ""
        return f"<table>{more}{head}{''.join(lines)}</table>"
