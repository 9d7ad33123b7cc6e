"""The registry: which class serves the arrays of which library.

It holds names. A backend is imported when the first array of its library arrives, so that
``import anydrop`` imports no array library but NumPy.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import array_api_compat

from anydrop.core import check
from anydrop.core.tracing import constant

if TYPE_CHECKING:
    from anydrop.backends.base import Backend
    from anydrop.core.typing import Array

ENTRY_POINTS = "anydrop.backends"

_CONTRACT = "anydrop.backends.base:Backend"
# library -> "module:Class". The next array library is one row here, one in the table of
# capabilities, and one folder beside this.
_REGISTRY = {
    "numpy": "anydrop.backends.numpy.backend:NumpyBackend",
    "cupy": "anydrop.backends.cupy.backend:CupyBackend",
    "torch": "anydrop.backends.torch.backend:TorchBackend",
    "jax": "anydrop.backends.jax.backend:JaxBackend",
    "dask": "anydrop.backends.dask.backend:DaskBackend",
    "array_api_strict": _CONTRACT,
}
# Libraries that implement the standard, and need further checks.
_BY_THE_STANDARD = {"cubed": "anydrop.backends.cubed:CubedBackend"}
# Libraries that are recognised, and why their arrays are refused.
UNSERVED = {
    "sparse": "a keep mask is dense, and what a sparse array does not store can't be selected; "
    "convert it first, with x.todense()",
}
_BY_TYPE: dict[type, Backend] = {}
# The backends that have served an array, by name.
_SERVING: dict[str, Backend] = {}
_jax_is_told = False

_log = logging.getLogger(__name__)


def resolve(x: Array) -> Backend:
    """Return the backend that serves an array.

    Parameters
    ----------
    x : array
        Of any registered library, or of one that implements the array API standard by itself.

    Returns
    -------
    Backend

    Raises
    ------
    TypeError
        If `x` is no array, or of a library that no backend serves. The message names the
        libraries found here.

    Examples
    --------
    >>> import numpy as np
    >>> from anydrop.backends import resolve
    >>> resolve(np.ones(3)).name
    'numpy'
    """
    backend = _BY_TYPE.get(type(x))
    if backend is None:
        backend = _BY_TYPE[type(x)] = _SERVING[_serve(x)]
    return backend


def register(name: str, target: str) -> None:
    """Register the backend of an array library.

    A package can register its own by an entry point of the group ``anydrop.backends`` instead,
    with the same name and target.

    Parameters
    ----------
    name : str
        Name under which the library is imported: the first part of its array type's module.
    target : str
        ``"module:Class"``, a subclass of `anydrop.backends.base.Backend`. It is imported when
        the first array of that library arrives.

    Raises
    ------
    ValueError
        If the name is taken, or the target is not of the form ``"module:Class"``.

    Examples
    --------
    >>> import anydrop
    >>> anydrop.register("numpy", "mine:Mine")
    Traceback (most recent call last):
    ...
    ValueError: a backend for 'numpy' is registered already: anydrop.backends.numpy...:NumpyBackend
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"a library's name is that of its top module, got {name!r}")
    if not isinstance(target, str) or target.count(":") != 1 or not all(target.split(":")):
        raise ValueError(f"a backend's target has the form 'module:Class', got {target!r}")
    if name in (known := registered()):
        raise ValueError(f"a backend for {name!r} is registered already: {known[name]}")
    _REGISTRY[name] = target
    _BY_TYPE.clear()


def registered() -> dict[str, str]:
    """Return a copy of the registry, the installed entry points included."""
    return _entry_points() | _REGISTRY


def found() -> list[str]:
    """Return the registered libraries that are installed here."""
    return [name for name in registered() if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ValueError:  # A module that is being run or was made by hand has no spec.
        return False


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, str]:
    # Imported here: 20 ms that only a type not seen before has to pay.
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


@lru_cache
def load(name: str) -> Backend:
    """Return the one instance of a registered library's backend, imported at the first call."""
    return _class(registered()[name])(name)


def _class(target: str) -> type[Backend]:
    module, _, name = target.partition(":")
    cls: type[Backend] = getattr(importlib.import_module(module), name)
    return cls


@constant  # since it imports
def introduce() -> None:
    """Tell JAX, which is imported, how to take masks and other descriptions apart.

    Whoever makes one calls this if ``"jax" in sys.modules``: JAX may meet it before any array.
    """
    global _jax_is_told
    if _jax_is_told:
        return
    try:
        importlib.import_module("anydrop.backends.jax.recipes")
    except ImportError as error:  # A broken JAX is no business of those who only use NumPy.
        _log.info("JAX will not know masks: %r", error)
    _jax_is_told = True


@constant  # since it may import the backend
def _serve(x: Any) -> str:
    backend = _resolve(x)
    _SERVING[backend.name] = backend
    return backend.name


def _resolve(x: Any) -> Backend:
    name, namespace = _library(x)
    if name in found():
        backend = load(name)
        if backend.owns(x):
            return backend
        raise TypeError(
            f"x must be a plain array of {_listed(found())}, got {check.type_name(x)}, which may "
            "mean more than its numbers; convert it first, e.g. with numpy.asarray(x)"
        )
    if name in UNSERVED:
        raise TypeError(
            f"anydrop does not serve {name} arrays ({check.type_name(x)}): {UNSERVED[name]}"
        )
    if namespace:
        return _class(_BY_THE_STANDARD.get(name, _CONTRACT))(name, namespace)
    if name:
        raise TypeError(
            f"anydrop has no backend for {name} arrays ({check.type_name(x)}); "
            f"it serves {_listed(found())} here"
        )
    raise TypeError(
        f"x must be an array of {_listed(found())}, got {check.type_name(x)}; convert it first, "
        "e.g. with numpy.asarray(x)"
    )


def _library(x: Any) -> tuple[str, str]:
    """Return the names of an array's library and of its namespace; empty where there is none."""
    try:
        xp = array_api_compat.array_namespace(x)
    except (AttributeError, TypeError):  # The first is of an array whose namespace is no module.
        xp = None
    # It is taken by its name, and no other module than itself may be imported by that.
    namespace = getattr(xp, "__name__", None)
    if not isinstance(namespace, str) or sys.modules.get(namespace) is not xp:
        roots = (cls.__module__.partition(".")[0] for cls in type(x).__mro__)
        name = next((root for root in roots if root in registered()), "")
        return name, ""
    return namespace.removeprefix("array_api_compat.").partition(".")[0], namespace


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else names[0]
