"""A part of a claim that may be missing, and is written into `claim.json` as a mapping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self


class StoredPart(ABC):
    """What is read from plain JSON values as it was stored.

    Attributes:
        key: its name in `claim.json`.
    """

    key: ClassVar[str]

    @abstractmethod
    def stored(self) -> dict[str, Any]:
        """As plain JSON values."""

    @classmethod
    @abstractmethod
    def of_mapping(cls, value: Mapping[str, Any]) -> Self:
        """The reverse of `stored`; raises what `read` does."""

    @classmethod
    def read(cls, value: Any) -> Self | None:
        """The reverse of `stored`; None for None.

        Raises:
            InputError: a part is not what it should be.
            KeyError, TypeError: one is missing, or it is no mapping.
        """
        if value is None:
            return None
        if not isinstance(value, dict):
            raise TypeError(f"{cls.key} is no mapping")
        return cls.of_mapping(value)
