"""Names of a user's own: events and locations that the vocabulary of the bundle does not hold."""

import numpy as np
import numpy.typing as npt


class PrivateNames:
    """Ids for names, from `first_id` up; an id is never given to a second name.

    Only the identity of an id carries meaning, so that a name that was dropped may come back
    under another one.
    """

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self._id_of_name: dict[str, int] = {}
        self._name_of_id: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._id_of_name)

    def id_of(self, name: str) -> int:
        """The id of a name, a new one at first sight."""
        if name not in self._id_of_name:
            self._id_of_name[name] = self._next_id
            self._name_of_id[self._next_id] = name
            self._next_id += 1
        return self._id_of_name[name]

    def name_of(self, private_id: int) -> str:
        return self._name_of_id[private_id]

    def keep_only(self, ids: npt.NDArray[np.int64]) -> None:
        """Drop the names of all other ids."""
        kept = set(ids.tolist())
        self._name_of_id = {i: name for i, name in self._name_of_id.items() if i in kept}
        self._id_of_name = {name: i for i, name in self._name_of_id.items()}
