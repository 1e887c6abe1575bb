"""Fields of a JSON object, read one by one; the faults of all of them are collected. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

_Choice = TypeVar("_Choice", bound=str)


class ScenarioError(ValueError):
    """A scenario that cannot be used; `problems` maps each field to its fault.

    The message names `source`, the file, if there is one.
    """

    def __init__(self, source: str, problems: Mapping[str, str]) -> None:
        self.source = source
        self.problems = dict(problems)
        text = "; ".join(f"{field} {problem}".strip() for field, problem in problems.items())
        super().__init__(f"{source}: {text}" if source else text)


class Fields:
    """The fields of one object at `path`. A faulty or missing field gives a value of its type.

    That value is never used: `finish` raises first.
    """

    def __init__(self, values: Mapping[str, Any], source: str, path: str, problems: dict[str, str]) -> None:
        self._values = values
        self._source = source
        self._path = path
        self._problems = problems
        self._read: set[str] = set()

    @classmethod
    def of(cls, content: object, source: str) -> Fields:
        """The fields of a whole text. Raises `ScenarioError` if it is no object."""
        if not isinstance(content, dict):
            raise ScenarioError(source, {"": "must be a JSON object"})
        return cls(content, source, "", {})

    def has(self, name: str) -> bool:
        """True if the field is there and not null."""
        self._read.add(name)
        return self._values.get(name) is not None

    def fault(self, name: str, problem: str) -> None:
        """Keep the fault of a field; the first one of a field counts. "" is the object itself."""
        self._problems.setdefault(".".join(part for part in (self._path, name) if part), problem)

    def is_faulty(self, name: str) -> bool:
        return ".".join(part for part in (self._path, name) if part) in self._problems

    def number(self, name: str, low: float, high: float, *, default: float | None = None, required: bool = False) -> float | None:
        value = self._value(name, required)
        if value is None:
            return default
        if not _is_number(value) or not low <= value <= high:
            self.fault(name, f"must be a number from {low:g} to {high:g}")
            return default
        return float(value) if isinstance(value, float) else int(value)

    def whole(self, name: str, low: int, high: int, *, default: int | None = None) -> int | None:
        value = self._value(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(name, f"must be a whole number from {low} to {high}")
            return default
        return value

    def pair(self, name: str, low: float, high: float, *, rising: bool = False) -> tuple[float, float]:
        """A number, or two: `[from, to]`."""
        value = self._value(name, required=True)
        if value is None:
            return low, low
        both = value if isinstance(value, list) else [value, value]
        if len(both) != len(("from", "to")) or not all(_is_number(each) and low <= each <= high for each in both):
            self.fault(name, f"must be a number from {low:g} to {high:g}, or [from, to] of two such numbers")
            return low, low
        if rising and both[0] > both[1]:
            self.fault(name, "must be [from, to] with from at most to")
        return both[0], both[1]

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._value(name)
        if value is not None and not isinstance(value, bool):
            self.fault(name, "must be true or false")
        return value if isinstance(value, bool) else default

    def text(self, name: str, *, most: int, default: str | None = None) -> str:
        value = self._value(name, required=default is None)
        if value is None:
            return default or ""
        if not isinstance(value, str) or len(value) > most:
            self.fault(name, f"must be a text of at most {most} characters")
            return default or ""
        return value

    def choice(self, name: str, choices: Sequence[_Choice], *, default: _Choice | None = None) -> _Choice:
        value = self._value(name, required=default is None)
        found = next((each for each in choices if each == value), None)
        if value is not None and found is None:
            self.fault(name, f"must be one of {', '.join(choices)}")
        return found or default or choices[0]

    def items(self, name: str, *, least: int, most: int) -> list[Any]:
        value = self._value(name, required=least > 0)
        if value is None:
            return []
        if not isinstance(value, list) or not least <= len(value) <= most:
            self.fault(name, f"must be a list of {least} to {most} items")
            return []
        return value

    def objects(self, name: str, *, least: int, most: int) -> Iterator[Fields]:
        """The fields of each object of a list."""
        for number, value in enumerate(self.items(name, least=least, most=most)):
            path = f"{self._path}.{name}[{number}]" if self._path else f"{name}[{number}]"
            if isinstance(value, dict):
                yield Fields(value, self._source, path, self._problems)
            else:
                self.fault(f"{name}[{number}]", "must be a JSON object")

    def unknown(self) -> None:
        """Keep a fault for each field that was not read."""
        for name in self._values:
            if name not in self._read:
                self.fault(str(name), f"is unknown; the fields are {', '.join(sorted(self._read))}")

    def ignore(self) -> None:
        """Report no unknown field: the fields of the object depend on one that is wrong."""
        self._read.update(self._values)

    def finish(self) -> None:
        """Raise `ScenarioError` if there is any fault."""
        self.unknown()
        if self._problems:
            raise ScenarioError(self._source, self._problems)

    def _value(self, name: str, required: bool = False) -> Any:
        self._read.add(name)
        value = self._values.get(name)
        if value is None and required:
            self.fault(name, "is missing")
        return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
