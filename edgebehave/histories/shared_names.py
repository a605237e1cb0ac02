"""Names that many rows share, each kept once and only while a row needs it."""


class SharedNames:
    """Small ids for names, counted: a name that nothing uses any more leaves memory.

    Id 0 is "no name". The id of a name that left is given to the next new one.
    """

    def __init__(self) -> None:
        self._id_of: dict[str, int] = {}
        self._name_of: list[str | None] = [None]
        self._num_uses = [0]
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._id_of)

    def __getitem__(self, name_id: int) -> str | None:
        return self._name_of[name_id]

    def take(self, name: str | None) -> int:
        """The id of a name, for one more row."""
        if name is None:
            return 0
        name_id = self._id_of.get(name)
        if name_id is None:
            if self._free:
                name_id = self._free.pop()
                self._name_of[name_id] = name
            else:
                name_id = len(self._name_of)
                self._name_of.append(name)
                self._num_uses.append(0)
            self._id_of[name] = name_id
        self._num_uses[name_id] += 1
        return name_id

    def release(self, name_id: int) -> None:
        """A row that held this id is gone."""
        if not name_id:
            return
        self._num_uses[name_id] -= 1
        if not self._num_uses[name_id]:
            name = self._name_of[name_id]
            assert name is not None
            del self._id_of[name]
            self._name_of[name_id] = None
            self._free.append(name_id)

    def find(self, name: str) -> int | None:
        """The id of a name, None if no row has it."""
        return self._id_of.get(name)
