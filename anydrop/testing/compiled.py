"""What a library must pass if its compiler runs Python once and the program often.

Each function takes a subject with a compiler.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

import anydrop
from anydrop.core.typing import Array
from anydrop.testing.reference import Array as Host
from anydrop.testing.reference import keep, normals
from anydrop.testing.subject import Subject

N, P, SEED = 40, 0.4, 3


def a_function_with_a_step(subject: Subject) -> None:
    """Draw the mask of the step that each run is given."""

    def dropped(x: Array, step: Array) -> Array:
        return anydrop.dropout(x, P, seed=SEED, step=step)

    program = _program(subject, dropped)
    for step in (0, 1, 2**31 - 1):
        y = program(subject.ones(N), subject.array(np.asarray(step, np.int32)))
        subject.check(y, _expected(subject, step))


def noise_with_a_step(subject: Subject) -> None:
    """Round products and sums as without a compiler, whatever it may fuse."""
    if not subject.namespace:
        return
    x = np.linspace(-2, 2, 999, dtype=np.float32)

    def multiplied(x: Array, step: Array) -> Array:
        return anydrop.gaussian_dropout(x, 0.1, seed=SEED, step=step)

    def added(x: Array, step: Array) -> Array:
        return anydrop.gaussian_noise(x, 0.1, seed=SEED, step=step)

    for function, std, relative in (
        (multiplied, math.sqrt(0.1 / (1 - 0.1)), True),
        (added, 0.1, False),
    ):
        program = _program(subject, function)
        for step in (0, 1, 2**31 - 1):
            y = program(subject.array(x), subject.array(np.asarray(step, np.int32)))
            z = normals(x.shape, seed=SEED, step=step)
            subject.check(y, subject.perturb(x, z, std, relative))


def a_layers_forward(subject: Subject) -> None:
    """Draw the next mask at each run, or refuse to be compiled and leave the layer unchanged."""
    drop = anydrop.Dropout(P, seed=SEED)
    program = _program(subject, drop)
    for step in range(3):
        y = _run_of_layer(program, subject)
        if y is None:
            assert drop.step == step == 0, f"the step is {drop.step} after run {step} was refused"
            return
        subject.check(y, _expected(subject, step))
        assert drop.step == step + 1, f"the step is {drop.step} after {step + 1} runs"


def a_layers_backward(subject: Subject) -> None:
    """Draw the mask of the last forward at each run, or refuse to be compiled."""
    drop = anydrop.Dropout(P, seed=SEED)
    program = _program(subject, drop.backward)
    for step in range(2):
        drop(subject.ones(N))
        dx = _run_of_layer(program, subject)
        if dx is None:
            return
        subject.check(dx, _expected(subject, step))


def _program(subject: Subject, function: Callable[..., Array]) -> Callable[..., Array]:
    assert subject.compiled is not None, f"{subject.name} has no compiler"
    return subject.compiled(function)


def _expected(subject: Subject, step: int) -> Host:
    kept = keep((N,), P, seed=SEED, step=step)
    return subject.select(np.ones(N, np.float32), kept, 1 / (1 - P))


def _run_of_layer(program: Callable[..., Array], subject: Subject) -> Array | None:
    """Return the result of a layer's compiled pass, or None if it is refused with a way out."""
    try:
        return program(subject.ones(N))
    except TypeError as error:
        assert "step=" in str(error), f"the message does not say to pass the step: {error}"
        return None
