"""`seed_layers`: one seed for a model, and a seed of its own for each of its layers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

from anydrop.core import check, seeds, stream
from anydrop.core.seedable import Seedable
from anydrop.layers.base import Layer

# What has no layers within.
ATOMS = (str, bytes, bytearray, int, float, complex, type, FunctionType, MethodType, ModuleType)
# PyTorch's modules around a model, which are no part of its layers' names, and where they hold it.
WRAPPERS = {
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
}
# In a name: the key of a dict that is neither a str nor an int.
NAMELESS = "\0"


def seed_layers(model: Any, seed: stream.Seed | Sequence[int]) -> dict[str, Any]:
    """Give each dropout layer of a model a seed of its own, made of one seed and of its name.

    The modules of ``anydrop.torch`` are layers, too. A module without a seed gets one, and counts
    its steps from then on. Its ``place`` is the name.

    A layer's name is how the model's code gets to it: attributes, indices and keys, joined by
    dots, such as ``"blocks.2.drop"``. So layers never share their masks, a layer that is added
    elsewhere changes nothing here, and the same model draws the same masks in any library.
    All layers begin at step 0. To let a copy of a model draw masks of its own, seed the copy anew.

    Parameters
    ----------
    model : object
        A network, whose attributes, lists and dicts are searched, or a list or dict of layers.
    seed : int, sequence of int or numpy.random.SeedSequence
        Ints must be >= 0 and of at most 4,300 decimal digits.

    Returns
    -------
    dict of str to Layer or anydrop.torch.Module
        The layers, by name, in the order in which they were found. One that has two names is
        there once, under the name of fewest parts, or else the one that was found first.

    Raises
    ------
    TypeError
        If the seed is of the wrong kind.
    ValueError
        If the seed is out of range, there is no layer, two layers come to one name, or one draws
        from a generator. No layer is changed then.

    Notes
    -----
    The seed of a layer is ``SeedSequence(seed, spawn_key=words)``, with the first 128 bits of the
    SHA-256 of its name in UTF-8 as four big-endian words. If `seed` is a SeedSequence itself, its
    own spawn key comes before the words.

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
                f"{layer!r} is in a dict under a key that is neither a str nor an int, and so has "
                "no name that stays the same: use such keys"
            )
        if name in found:
            raise ValueError(f"two layers of this model come to the name {name!r}: rename one")
        if isinstance(layer, Layer) and layer.seed is None:
            raise ValueError(
                f"the layer {name!r} draws from a generator given as rng=: make it with seed="
            )
        found[name] = layer
    if not found:
        raise ValueError(
            f"no dropout layer of anydrop was found in {check.described(model)}: give the network "
            "that has them as attributes, or a list or dict of them"
        )
    own = [seeds.of_place(checked, name) for name in found]
    for (name, layer), seed in zip(found.items(), own, strict=True):
        if isinstance(layer, Layer):
            layer.reseed(seed)
        else:  # It makes the same seed of the two, and shows both.
            layer.reseed(checked, name)
    return found


def named_layers(model: Any) -> Iterator[tuple[str, Layer | Seedable]]:
    """Yield the layers that a model leads to, those whose names have few parts first."""
    seen = dict[int, Any]()  # it keeps the objects alive, so that no id is used again
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
    """Yield what a thing holds, by attribute, index or key; nothing of it is called."""
    if issubclass(kind, Layer):
        return
    if issubclass(kind, Seedable):  # Only its children may be layers.
        yield from vars(thing).get("_modules", {}).items()
        return
    if issubclass(kind, Mapping):
        for key, value in thing.items():
            yield (str(key) if isinstance(key, (str, int)) else NAMELESS), value
    elif issubclass(kind, (list, tuple, deque)):
        yield from ((str(index), value) for index, value in enumerate(thing))
    state: Any = object.__getstate__(thing)  # read, and not computed as getattr might
    state, slots = state if isinstance(state, tuple) else (state, None)
    attributes = {**(state or {}), **(slots or {})}
    if hasattr(kind, "named_children"):  # of PyTorch's modules, which keep their parts in a dict
        attributes |= attributes.pop("_modules", {})
    yield from attributes.items()
    for base in kind.__mro__:
        for name, value in vars(base).items():
            if issubclass(type(value), Layer) and name not in attributes:
                yield name, value
