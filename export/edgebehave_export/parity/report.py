"""The table of the parity gate: its checks, and the error that carries it."""

# A predictions

import html
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas

FloatArray = npt.NDArray[np.floating]

MAX_DIFFERENCE = 1e-4
"""Between probabilities of torch and of the fp32 graphs. Rounding in another order stays below 1e-5; a wrong
slot or a lost event does not."""


class ParityError(ValueError):
    """The graphs differ from the checkpoint; `report` has the numbers."""

    def __init__(self, report: "ParityReport") -> None:
        failed = "; ".join(f"{c.name}: {c.value:.3g}, must be {c.bound}" for c in report.failed)
        super().__init__(f"the export differs from its checkpoint, nothing was written: {failed}")
        self.report = report


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the table.

    value  the measured number.
    limit  upper limit of value, or lower limit with `at_least`; None: reported, not judged.
    count  predictions (or histories) behind it.
    """

    name: str
    value: float
    count: int
    limit: float | None = None
    at_least: bool = False

    @property
    def passed(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def bound(self) -> str:
        if self.limit is None:
            return "-"
        return f"{'>=' if self.at_least else '<='} {self.limit:g}"


class GraphComparison(NamedTuple):
    """Answers of the model, (A,) or (A, ...), and those of each device by its precision."""

    what: str
    expected: FloatArray
    found: dict[str, FloatArray]

    def checks(self) -> list[Check]:
        """The largest difference of each device; that of fp32 is judged."""
        return [
            Check(
                name=f"torch - {precision}, {self.what}",
                value=float(np.abs(found - self.expected).max(initial=0)),
                count=len(found),
                limit=MAX_DIFFERENCE if precision == "fp32" else None,
            )
            for precision, found in self.found.items()
        ]


@dataclass(frozen=True, kw_only=True, repr=False)
class ParityReport:
    """Result of the gate.

    num_users       real histories that were streamed.
    num_joined      further ones, joined from several users to be long enough.
    longest         events of the longest.
    num_full_cache  predictions made from a full cache.
    num_wrapped     predictions made after rotary positions started over.
    """

    checks: list[Check] = field(default_factory=list)
    num_predictions: int
    num_users: int
    num_joined: int
    longest: int
    num_full_cache: int
    num_wrapped: int

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        return not self.failed

    def raise_if_failed(self) -> None:
        if self.failed:
            raise ParityError(self)

    def with_checks(self, prefix: str, checks: list[Check]) -> "ParityReport":
        """The same with more lines, whose names get a prefix."""
        return replace(self, checks=[*self.checks, *(replace(check, name=prefix + check.name) for check in checks)])

    def __repr__(self) -> str:
        failed = f"{len(self.failed)} FAILED" if self.failed else "all passed"
        return f"ParityReport({len(self.checks)} checks, {failed}, {self.num_predictions:,} predictions)"

    def _repr_html_(self) -> str:
        """The table, for a notebook."""
        return f"<pre>{html.escape(self.to_text())}</pre>"

    def to_pandas(self) -> "pandas.DataFrame":
        """One line per check: name, value, count, limit, at_least, passed."""
        import pandas

        return pandas.DataFrame([asdict(check) | {"passed": check.passed} for check in self.checks])

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"passed": self.passed}

    def to_text(self) -> str:
        """The table as text."""
        joined = f" and {self.num_joined} joined one{'s' * (self.num_joined != 1)}" if self.num_joined else ""
        lines = [
            f"parity on {self.num_predictions:,} predictions of {self.num_users} "
            f"{'history' if self.num_users == 1 else 'histories'}{joined}, the longest {self.longest:,} events",
            f"{'check':<48}{'value':>12}{'must be':>12}{'of':>8}",
        ]
        if self.num_full_cache:
            full, wrapped = f"{self.num_full_cache:,} of them from a full cache", f"{self.num_wrapped:,} after the"
            lines.insert(1, f"{full}, {wrapped} positions started over")
        for check in self.checks:
            mark = "" if check.passed else "  FAILED"
            value = f"{check.value:.4%}" if check.at_least else f"{check.value:.3g}"
            lines.append(f"{check.name:<48}{value:>12}{check.bound:>12}{check.count:>8}{mark}")
        return "\n".join(lines)
