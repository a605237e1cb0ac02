"""Pitman-Yor processes, which draw names with a long tail, and hierarchies of them, which draw names after contexts.

Pitman and Yor (1997): after N customers, of whom c_b at t_b tables chose name b, with T tables in all,

    p(b) = (c_b - d t_b) / (theta + N),    p(a draw from the base) = (theta + d T) / (theta + N)

with discount 0 <= d < 1 and concentration theta > 0. In a hierarchy (Teh 2006) the base of a context is the process of
the context that is one event shorter.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

Base = Callable[[int | None], int]
"""Draws a name that differs from its argument; None excludes nothing."""


class Chance:
    """Uniform numbers in [0, 1), drawn in blocks: single ones would cost most of the time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._block: list[float] = []

    def __call__(self) -> float:
        if not self._block:
            self._block = self._rng.random(512).tolist()
        return self._block.pop()

    def below(self, num: int) -> int:
        """One of 0 .. num - 1, all alike."""
        return int(self() * num)


class Restaurant:
    """The customers and tables of one context."""

    __slots__ = ("customers", "num_customers", "num_tables", "tables")

    def __init__(self) -> None:
        self.customers: dict[int, int] = {}
        self.tables: dict[int, int] = {}
        self.num_customers = self.num_tables = 0

    def add(self, name: int, new_table: bool = False) -> None:
        self.customers[name] = self.customers.get(name, 0) + 1
        self.num_customers += 1
        if new_table:
            self.tables[name] = self.tables.get(name, 0) + 1
            self.num_tables += 1

    def known_name(
        self, chance: Chance, discount: float, concentration: float, avoid: int | None, always: bool = False
    ) -> int | None:
        """A name that has customers here, but not `avoid`; None where the base must draw.

        always  never ask the base while another name than `avoid` is known.
        """
        num = self.num_customers
        total = num - discount * self.num_tables
        if avoid in self.customers:
            num -= self.customers[avoid]
            total -= self.customers[avoid] - discount * self.tables.get(avoid, 0)
        if num == 0:
            return None
        if not always and chance() * (total + concentration + discount * self.num_tables) >= total:
            return None
        left = chance() * total
        chosen: int | None = None
        for name, count in self.customers.items():
            if name != avoid:
                chosen = name
                left -= count - discount * self.tables.get(name, 0)
                if left <= 0:
                    break
        return chosen


class Restaurants:
    """A hierarchical Pitman-Yor process over contexts (Teh 2006); tables are never seated anew.

    discount       of each length of context, longest first.
    concentration  likewise.
    base           draws where no context decides.
    """

    def __init__(self, chance: Chance, discount: Sequence[float], concentration: Sequence[float], base: Base) -> None:
        self._chance, self._base = chance, base
        self._discount, self._concentration = discount, concentration
        self._of_context: dict[tuple[int, Hashable], Restaurant] = {}

    def draw(self, contexts: Sequence[Hashable], avoid: int | None = None) -> int:
        """A name other than `avoid` after some contexts, the longest first; it becomes likelier after them."""
        asked: list[Restaurant] = []
        for i, context in enumerate(contexts):
            restaurant = self._at(i, context)
            name = restaurant.known_name(self._chance, self._discount[i], self._concentration[i], avoid)
            if name is not None:
                restaurant.add(name)
                break
            asked.append(restaurant)
        else:
            name = self._base(avoid)
        for restaurant in asked:
            restaurant.add(name, new_table=True)
        return name

    def learn(self, contexts: Sequence[Hashable], name: int) -> None:
        """Count a name that came from elsewhere, up to the first context that knows it."""
        for i, context in enumerate(contexts):
            restaurant = self._at(i, context)
            if name in restaurant.customers:
                restaurant.add(name)
                return
            restaurant.add(name, new_table=True)

    def forget(self) -> None:
        self._of_context.clear()

    def _at(self, length: int, context: Hashable) -> Restaurant:
        key = (length, context)
        restaurant = self._of_context.get(key)
        if restaurant is None:
            restaurant = self._of_context[key] = Restaurant()
        return restaurant


class Names:
    """Numbers by a Pitman-Yor process whose base always gives a new one, up to a limit."""

    def __init__(
        self, chance: Chance, discount: float = 0.0, concentration: float = 1.0, limit: int | None = None
    ) -> None:
        self.num_used = 0
        self._chance, self._limit = chance, limit
        self._discount, self._concentration = discount, concentration
        self._restaurant = Restaurant()

    def new(self) -> int:
        """A name never used before, whatever the limit."""
        self.num_used += 1
        return self.num_used - 1

    def draw(self, avoid: int | None = None) -> int:
        """A name other than `avoid`; a new one beyond the limit only where no other is known."""
        is_full = self._limit is not None and self.num_used >= self._limit
        name = self._restaurant.known_name(self._chance, self._discount, self._concentration, avoid, is_full)
        if name is None:
            name = self.new()
            self._restaurant.add(name, new_table=True)
        else:
            self._restaurant.add(name)
        return name
