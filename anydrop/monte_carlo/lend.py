"""`lent`: a layer that draws from another seed for a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from anydrop.core import stream
from anydrop.layers.base import Layer


@contextmanager
def lent(layer: Layer, seed: stream.Seed, *, share_batch: bool) -> Iterator[None]:
    """Have a layer draw from another seed, in training mode, and then be again as before.

    A schedule stays where the layer's own steps have brought it.

    Parameters
    ----------
    layer : Layer
        Which.
    seed : int, tuple of int or numpy.random.SeedSequence
        Of which the draws begin at step 0.
    share_batch : bool
        Whether all examples of a batch share one mask.
    """
    here = threading.get_ident()
    if layer._lent_in not in (None, here):
        raise RuntimeError(
            f"this {type(layer).__name__} is at work in another thread: one layer belongs to "
            "one thread at a time, so give each thread a copy.deepcopy of the model"
        )
    own = layer.__dict__.copy()
    layer.__dict__.update(
        _options=layer._options | layer._arguments(),
        _seed=seed,
        _rng=None,
        # One that is an array stays one: a compiler would take an int for a constant.
        _step=layer._step * 0,
        _training=True,
        _mask=None,
        _plan=None,
        _home=(),
        _share_batch=share_batch,
        _lent_in=here,
    )
    try:
        yield
    finally:
        layer.__dict__.clear()
        layer.__dict__.update(own)
