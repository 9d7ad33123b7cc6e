"""`seed_layers`: from one seed, a different seed for each layer of a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

from anydrop.core import check, seeds, stream
from anydrop.core.seedable import Seedable
from anydrop.layers.base import Layer

# Types that contain no layers.
ATOMS = (str, bytes, bytearray, int, float, complex, type, FunctionType, MethodType, ModuleType)
# PyTorch's wrappers of a model, which names leave out, and the attribute with the model.
WRAPPERS = {
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
}
# In a name, stands for a key that is neither a str nor an int.
NAMELESS = "\0"


def seed_layers(model: Any, seed: stream.Seed | Sequence[int]) -> dict[str, Any]:
    """Give each dropout layer of a model its own seed, from one seed for the model.

    The seed of a layer depends only on the model's seed and on the layer's name, such as
    ``"blocks.2.drop"``: the attributes, indices and keys that lead to it, joined by dots. So layers
    don't share masks, adding a layer changes no other one, and the same model draws the same masks
    in every library. All layers start at step 0.

    The modules of ``anydrop.torch`` are layers, too. A module without a seed gets one, and counts
    its steps from then on. Its ``place`` is the name.

    A copy of a model draws the same masks as the model. If it should not, call this function on the
    copy, with another seed.

    Parameters
    ----------
    model : object
        A network, whose attributes, lists and dicts are searched, or a list or dict of layers.
    seed : int, sequence of int or numpy.random.SeedSequence
        Seed of the model. Ints must be >= 0, with at most 4,300 decimal digits.

    Returns
    -------
    dict of str to Layer or anydrop.torch.Module
        The layers by name, in the order in which they were found. A layer with two names is there
        once, under the shorter name (with fewer parts), or else under the first that was found.

    Raises
    ------
    TypeError
        If the seed has the wrong type.
    ValueError
        If the seed is out of range, if there is no layer, if two layers get the same name, or if
        one draws from a generator. Then no layer is changed.

    See Also
    --------
    Dropout.reseed : changes the seed of one layer.

    Notes
    -----
    The seed of a layer is ``SeedSequence(seed, spawn_key=words)``. The words are the first 128 bits
    of the SHA-256 of its name (in UTF-8), as four big-endian 32-bit integers. If `seed` is a
    SeedSequence, its own spawn key comes before the words.

    Examples
    --------
    >>> import numpy as np, anydrop
    >>> class Network:
    ...     def __init__(self):
    ...         self.drop = anydrop.Dropout(0.2)
    ...         self.blocks = [anydrop.Dropout(0.5), anydrop.DropPath(0.1)]
    >>> list(anydrop.seed_layers(Network(), 0))
    ['drop', 'blocks.0', 'blocks.1']
    """
    checked = seeds.checked(seed)
    found = dict[str, Layer | Seedable]()
    for name, layer in named_layers(model):
        if NAMELESS in name:
            raise ValueError(
                f"{layer!r} is in a dict under a key that is neither a str nor an int, so its name "
                "would not last: use a str or an int"
            )
        if name in found:
            raise ValueError(f"two layers of this model get the name {name!r}: rename one")
        if isinstance(layer, Layer) and layer.seed is None:
            raise ValueError(
                f"the layer {name!r} draws from a generator given as rng=: make it with seed="
            )
        found[name] = layer
    if not found:
        raise ValueError(
            f"no dropout layer of anydrop was found in {check.described(model)}: pass the network "
            "that has them as attributes, or a list or dict of them"
        )
    own = [seeds.of_place(checked, name) for name in found]
    for (name, layer), seed in zip(found.items(), own, strict=True):
        if isinstance(layer, Layer):
            layer.reseed(seed)
        else:  # It derives the same seed, and its repr shows both.
            layer.reseed(checked, name)
    return found


def named_layers(model: Any) -> Iterator[tuple[str, Layer | Seedable]]:
    """Yield the layers that a model leads to, those with the shortest names first."""
    seen = dict[int, Any]()  # keeps the objects alive, so that no id is reused
    todo = deque([("", model)])
    while todo:
        name, thing = todo.popleft()
        kind = type(thing)
        while kind.__name__ in WRAPPERS and kind.__module__.startswith("torch."):
            thing = getattr(thing, WRAPPERS[kind.__name__])
            kind = type(thing)
        if id(thing) in seen or issubclass(kind, ATOMS):
            continue
        seen[id(thing)] = thing
        if issubclass(kind, (Layer, Seedable)):
            yield name, thing
        for part, held in _parts(thing, kind):
            if held is not None and not issubclass(type(held), ATOMS):
                todo.append((f"{name}.{part}" if name else part, held))


def _parts(thing: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an object, by attribute, index or key, without calling any code of it."""
    if issubclass(kind, Layer):
        return
    if issubclass(kind, Seedable):  # Only its child modules may be layers.
        yield from vars(thing).get("_modules", {}).items()
        return
    if issubclass(kind, Mapping):
        for key, value in thing.items():
            yield (str(key) if isinstance(key, (str, int)) else NAMELESS), value
    elif issubclass(kind, (list, tuple, deque)):
        yield from ((str(index), value) for index, value in enumerate(thing))
    state: Any = object.__getstate__(thing)  # unlike getattr, calls no code of the object
    state, slots = state if isinstance(state, tuple) else (state, None)
    attributes = {**(state or {}), **(slots or {})}
    if hasattr(kind, "named_children"):  # PyTorch's modules keep their children in a dict
        attributes |= attributes.pop("_modules", {})
    yield from attributes.items()
    for base in kind.__mro__:
        for name, value in vars(base).items():
            if issubclass(type(value), Layer) and name not in attributes:
                yield name, value
