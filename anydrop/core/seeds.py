"""Seeds: which ones are accepted, and how they are saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np

from anydrop.core import check
from anydrop.core.stream import Keyed, Seed

# The largest pool of a SeedSequence, in 32-bit words. NumPy's time to mix one grows with the square
# of its size, and can't be interrupted.
POOL = 2**10
FIELDS = ("entropy", "spawn_key", "pool_size", "n_children_spawned")


def checked(value: object) -> Seed:
    """Return a seed as an int, a tuple of ints or a SeedSequence."""
    if type(value) is int:
        return _word(value, "seed")
    if isinstance(value, Keyed):
        return value
    if isinstance(value, np.random.SeedSequence):
        _fields({name: getattr(value, name) for name in FIELDS})
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if _is_sequence(value):
        return _entropy(value, "seed")
    hint = "" if isinstance(value, (Number, str, bytes)) else "; a generator goes to rng="
    wanted = "an int >= 0, a sequence of them or a numpy SeedSequence"
    return _word(check.integer(value, "seed", wanted, hint), "seed")


def fresh() -> int:
    """Return 128 bits of the operating system's entropy, as an int."""
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy


def forbid_two_sources(seed: object, rng: object) -> None:
    """Refuse two sources of randomness."""
    if seed is not None and rng is not None:
        raise ValueError(
            "give either seed= or rng=, not both: got "
            f"{check.described(seed)} and {check.described(rng)}"
        )


def checked_generator(rng: object) -> object:
    """Return a generator, of a library that is not known yet; refuse a seed."""
    if isinstance(rng, (Number, str, bytes, Sequence, np.random.SeedSequence)):
        raise TypeError(
            "rng must be a generator of the library whose arrays will come, got "
            f"{check.described(rng)}; a seed goes to seed="
        )
    return rng


def require_seed(seed: Any) -> Any:
    """Refuse a training call without a source of randomness."""
    if seed is None:
        raise TypeError(
            "a training call needs seed= (the same mask everywhere) or rng= (the library's own "
            "generator): pass one of them, or training=False for inference"
        )
    return seed


def forbid_rng(rng: object) -> None:
    """Refuse a generator where a seed is needed."""
    if rng is not None:
        raise TypeError(
            f"normal noise needs seed=, got rng={check.described(rng)}: a generator could not draw "
            "the noise again for the backward pass"
        )


def of_place(seed: Seed, name: str) -> np.random.SeedSequence:
    """Return the seed of a layer, by its name in a model; see `anydrop.seed_layers`."""
    return _child(seed, *np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], ">u4").tolist())


def _child(seed: Seed, *words: int) -> np.random.SeedSequence:
    parent = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    key = (*parent.spawn_key, *words)
    return np.random.SeedSequence(parent.entropy, spawn_key=key, pool_size=parent.pool_size)


def of_rank(seed: Seed, rank: int) -> np.random.SeedSequence:
    """Return the seed of one of several processes, each of which draws its own masks."""
    return _child(seed, rank)


def to_json(seed: Seed | None) -> Any:
    """Return a seed as plain JSON, which `from_json` reads."""
    if not isinstance(seed, np.random.SeedSequence):
        return list(seed) if isinstance(seed, tuple) else seed
    fields = _fields({name: getattr(seed, name) for name in FIELDS})
    return {name: list(f) if isinstance(f, tuple) else f for name, f in fields.items()}


def from_json(value: Any) -> Seed | None:
    """Return the seed that `to_json` wrote."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return checked(value)
    if value.keys() != set(FIELDS):
        raise ValueError(f"a saved SeedSequence has other keys than {sorted(value, key=str)}")
    return np.random.SeedSequence(**_fields(value))


def described(seed: Seed | None) -> str:
    """Return the text that shows a seed."""
    if not isinstance(seed, np.random.SeedSequence):
        return repr(seed)
    pool = f", pool_size={seed.pool_size}" * (seed.pool_size != 4)
    return f"SeedSequence(entropy={seed.entropy}, spawn_key={seed.spawn_key}{pool})"


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a SeedSequence in normal form. NumPy accepts more than it can use."""
    entropy = given["entropy"]
    size = check.integer(given["pool_size"], "pool_size")
    if not 4 <= size <= POOL:
        raise ValueError(f"pool_size must satisfy 4 <= pool_size <= {POOL}, got {size}")
    children = check.integer(given["n_children_spawned"], "n_children_spawned")
    if not 0 <= children < 2**32:
        raise ValueError(f"n_children_spawned must be >= 0 and < 2**32, got {children}")
    return {
        "entropy": (_entropy if _is_sequence(entropy) else _word)(entropy, "entropy"),
        "spawn_key": check.integers(given["spawn_key"], "spawn_key", _word),
        "pool_size": size,
        "n_children_spawned": children,
    }


def _is_sequence(value: object) -> bool:
    many = isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)
    return many and not isinstance(value, (str, bytes))


def _entropy(values: object, name: str) -> tuple[int, ...]:
    words = check.integers(values, name, _word)
    if not words:
        raise ValueError(f"{name} must not be empty: give an int >= 0 or a sequence of them")
    return words


def _word(value: object, name: str) -> int:
    number = check.integer(value, name)
    if number < 0:
        raise ValueError(f"{name} must be an int >= 0, got {number}")
    return number
