"""
What a storage backend with reservations does, in the fewest words: a mapping from keys to texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from edictum.storage import Change


class StorageModel:
    """
    A naive backend for comparison, with counters that are whole numbers.

    Attributes:
        data: Values and counters, all as text.
    """

    def __init__(self) -> None:
        self.data: dict[str, str] = {}

    def count(self, key: str) -> int:
        """
        The value of a counter.
        """
        return int(self.data.get(key, "0"))

    def is_countable(self, *keys: str) -> bool:
        """
        Whether none of the keys holds a text that is no number.
        """
        return all(self.data.get(key, "0").isdigit() for key in keys)

    def add(self, key: str, amount: float) -> int:
        """
        Add to a counter and return its new value.
        """
        self.data[key] = str(self.count(key) + int(amount))
        return self.count(key)

    def reserve(self, changes: Sequence[Change]) -> tuple[bool, tuple[int, ...], str | None]:
        """
        Apply all changes or none, and return the three facts of a :class:`~edictum.ReserveResult`.
        """
        current = tuple(self.count(key) for key, _, _ in changes)
        for (key, amount, limit), value in zip(changes, current, strict=True):
            if limit is not None and value + amount > limit:
                return False, current, key
        return True, tuple(self.add(key, amount) if amount else self.count(key) for key, amount, _ in changes), None

    def release(self, changes: Sequence[Change]) -> None:
        """
        Give back a reservation.
        """
        for key, amount, _ in changes:
            self.add(key, -amount)

    def settle(self, failures: str, success: bool) -> None:
        """
        Count a failure in a row, or end the row.
        """
        if success:
            self.data.pop(failures, None)
        else:
            self.add(failures, 1)
