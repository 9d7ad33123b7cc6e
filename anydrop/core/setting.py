"""`Setting`: a setting of a layer, which its constructor takes and its state saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar, overload

T = TypeVar("T")


class HasOptions(Protocol):
    """A layer, which has settings."""

    _options: dict[str, Any]
    _plan: Any

    @property
    def _acting(self) -> HasOptions:
        """The layer that draws: itself or its twin."""


class Setting(Generic[T]):
    """A setting of a layer: its constructor takes it, its function gets it, its state saves it.

    Parameters
    ----------
    check : callable
        Takes a value and the setting's name. Returns the value in normal form, or raises.
    doc : str
        Its docstring.
    settable : bool
        Whether it can be set after construction.
    """

    def __init__(self, check: Callable[[Any, str], T], doc: str, *, settable: bool = False) -> None:
        self.check, self.settable, self.__doc__ = check, settable, doc

    def normal(self, value: Any) -> T:
        """Return a value in normal form, or raise."""
        return self.check(value, self.name)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, owner: type) -> Self: ...

    @overload
    def __get__(self, layer: HasOptions, owner: type) -> T: ...

    def __get__(self, layer: HasOptions | None, owner: type) -> Self | T:
        if layer is None:
            return self
        value: T = layer._acting._options[self.name]
        return value

    def __set__(self, layer: HasOptions, value: Any) -> None:
        if not self.settable:
            kind = type(layer).__name__
            raise AttributeError(f"{self.name} of a {kind} can't be changed: make a new {kind}")
        acting = layer._acting
        # Not in place, since a copy of the layer may share the dict. A single assignment, so that
        # an interrupt can't leave the layer half changed.
        options = acting._options | {self.name: self.normal(value)}
        acting._options, acting._plan = options, None
