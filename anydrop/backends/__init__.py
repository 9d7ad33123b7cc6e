"""The registry: which backend class is used for the arrays of which library.

It contains only names. A backend is imported when the first array of its library arrives, so
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
# library -> "module:Class". A new library needs a row here, a row in capabilities.py, and a folder
# beside this file.
_REGISTRY = {
    "numpy": "anydrop.backends.numpy.backend:NumpyBackend",
    "cupy": "anydrop.backends.cupy.backend:CupyBackend",
    "torch": "anydrop.backends.torch.backend:TorchBackend",
    "jax": "anydrop.backends.jax.backend:JaxBackend",
    "dask": "anydrop.backends.dask.backend:DaskBackend",
    "array_api_strict": _CONTRACT,
}
# Libraries that implement the array API standard but need further checks.
_BY_THE_STANDARD = {"cubed": "anydrop.backends.cubed:CubedBackend"}
# Libraries whose arrays are refused, and why.
UNSERVED = {
    "sparse": "a keep mask is dense, so it can't be applied to a sparse array; convert it first, "
    "with x.todense()",
}
_BY_TYPE: dict[type, Backend] = {}
# The backends that were used so far, by name.
_SERVING: dict[str, Backend] = {}
_jax_is_told = False

_log = logging.getLogger(__name__)


def resolve(x: Array) -> Backend:
    """Return the backend for an array: the object that draws and applies masks for its library.

    Functions and layers call it for each array. Call it yourself to see which backend and which
    kernel an array gets, or to use a backend's methods in a variant of your own.

    Parameters
    ----------
    x : array
        An array of a registered library, or of a library that implements the array API standard.

    Returns
    -------
    Backend
        An instance of the library's subclass of `anydrop.backends.base.Backend`. Its ``name`` is
        the library's name, and its ``kernel`` says what draws the masks.

    Raises
    ------
    TypeError
        If `x` is no array, or its library has no backend. The message names the libraries that are
        installed.

    See Also
    --------
    register : Add a backend for another library.

    Examples
    --------
    >>> import anydrop
    >>> import numpy as np
    >>> anydrop.resolve(np.ones(3)).name
    'numpy'
    """
    backend = _BY_TYPE.get(type(x))
    if backend is None:
        backend = _BY_TYPE[type(x)] = _SERVING[_serve(x)]
    return backend


def register(name: str, target: str) -> None:
    """Add a backend for an array library, so that functions and layers take its arrays.

    Call it once, before the first array of that library. A package can declare the same name and
    target as an entry point of the group ``anydrop.backends`` instead.

    Parameters
    ----------
    name : str
        Name of the library: the first part of the module of its array type.
    target : str
        ``"module:Class"``, a subclass of `anydrop.backends.base.Backend`. It is imported when the
        first array of that library arrives.

    Raises
    ------
    ValueError
        If the library has a backend already, or if the name or the target is malformed.

    See Also
    --------
    resolve : Return the backend for an array.
    anydrop.backends.base.Backend : The class to subclass.

    Examples
    --------
    >>> import anydrop
    >>> anydrop.register("numpy", "mine:Mine")
    Traceback (most recent call last):
    ...
    ValueError: a backend for 'numpy' is registered already: anydrop.backends.numpy...:NumpyBackend
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name must be the name of the library's top module, got {name!r}")
    if not isinstance(target, str) or target.count(":") != 1 or not all(target.split(":")):
        raise ValueError(f"target must have the form 'module:Class', got {target!r}")
    if name in (known := registered()):
        raise ValueError(f"a backend for {name!r} is registered already: {known[name]}")
    _REGISTRY[name] = target
    _BY_TYPE.clear()


def registered() -> dict[str, str]:
    """Return a copy of the registry, including the installed entry points."""
    return _entry_points() | _REGISTRY


def found() -> list[str]:
    """Return the registered libraries that are installed."""
    return [name for name in registered() if _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ValueError:  # A module that is being run or was made by hand has no spec.
        return False


@lru_cache(maxsize=1)
def _entry_points() -> dict[str, str]:
    # The import takes 20 ms, so only a new type of array pays for it.
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


@lru_cache
def load(name: str) -> Backend:
    """Return the backend of a registered library, which is imported at the first call."""
    return _class(registered()[name])(name)


def _class(target: str) -> type[Backend]:
    module, _, name = target.partition(":")
    cls: type[Backend] = getattr(importlib.import_module(module), name)
    return cls


@constant  # since it imports
def introduce() -> None:
    """Register masks and other descriptions as JAX pytrees.

    Code that makes one calls this if ``"jax" in sys.modules``: JAX may see it before any array.
    """
    global _jax_is_told
    if _jax_is_told:
        return
    try:
        importlib.import_module("anydrop.backends.jax.recipes")
    except ImportError as error:  # A broken JAX must not disturb those who only use NumPy.
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
            f"x must be a plain array of {_listed(found())}, got {check.type_name(x)}; convert it "
            "first, e.g. with numpy.asarray(x)"
        )
    if name in UNSERVED:
        raise TypeError(
            f"anydrop does not support {name} arrays ({check.type_name(x)}): {UNSERVED[name]}"
        )
    if namespace:
        return _class(_BY_THE_STANDARD.get(name, _CONTRACT))(name, namespace)
    if name:
        raise TypeError(
            f"anydrop has no backend for {name} arrays ({check.type_name(x)}); "
            f"convert it to an array of {_listed(found())}"
        )
    raise TypeError(
        f"x must be an array of {_listed(found())}, got {check.type_name(x)}; convert it first, "
        "e.g. with numpy.asarray(x)"
    )


def _library(x: Any) -> tuple[str, str]:
    """Return the names of an array's library and of its namespace, or empty strings."""
    try:
        xp = array_api_compat.array_namespace(x)
    except (AttributeError, TypeError):  # AttributeError: the namespace is no module.
        xp = None
    # The backend imports the namespace by its name, which must lead to the same module.
    namespace = getattr(xp, "__name__", None)
    if not isinstance(namespace, str) or sys.modules.get(namespace) is not xp:
        roots = (cls.__module__.partition(".")[0] for cls in type(x).__mro__)
        name = next((root for root in roots if root in registered()), "")
        return name, ""
    return namespace.removeprefix("array_api_compat.").partition(".")[0], namespace


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else names[0]
