"""Statistics of arrays that arrive one by one and are not kept."""

from __future__ import annotations

from anydrop.backends import resolve
from anydrop.backends.base import COMPUTE, HALVES
from anydrop.core import check
from anydrop.core.typing import Array, Namespace

#: How far the sum of probabilities may be from 1.
TOLERANCE = 0.01


class Running:
    """Mean and variance of arrays, by Welford's formulas.

    These subtract the current mean before they square, so rounding does not destroy a spread that
    is small relative to the mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = 0.0
        self._squares: Array = 0.0

    def add(self, xp: Namespace, y: Array) -> None:
        """Add an array."""
        self.count += 1
        before = y - self.mean
        self.mean = self.mean + before / self.count
        self._squares = self._squares + _product(xp, before, y - self.mean)

    def std(self, xp: Namespace) -> Array:
        """Return the standard deviation, with the number of arrays as divisor."""
        return xp.sqrt(self._squares / self.count)


def _product(xp: Namespace, a: Array, b: Array) -> Array:
    """Return the real part of a times the conjugate of b."""
    if xp.isdtype(a.dtype, "complex floating"):
        return xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b)
    return a * b


class Moments:
    """Mean and standard deviation of outputs, which can be kept."""

    def __init__(self, *, keep: bool) -> None:
        self._outputs = Running()
        self._kept: list[Array] | None = [] if keep else None
        self._shape: tuple[int, ...] | None = None

    def add(self, y: Array) -> None:
        """Add an output."""
        y = self._checked(y)
        self._outputs.add(self._xp, y)

    def result(self) -> tuple[Array, Array, Array | None, Array | None]:
        """Return mean, standard deviation, and None for the two statistics of classes."""
        return self._outputs.mean, self._outputs.std(self._xp), None, None

    def outputs(self) -> Array | None:
        """Return the outputs along a new first axis, if they were kept."""
        return None if self._kept is None else self._xp.stack(self._kept)

    def _checked(self, y: Array) -> Array:
        """Return an output for arithmetic: no half types, no graph of gradients."""
        try:
            self._backend = backend = resolve(y)
        except TypeError as error:
            raise TypeError(
                f"predict must return one array, got {check.described(y)}: {error}"
            ) from error
        self._xp, name, shape = backend.xp, backend.dtype_name(y), backend.shape(y)
        if name not in COMPUTE:
            raise TypeError(
                f"predict must return floating-point numbers, got dtype {name}: return logits or "
                "probabilities instead of classes"
            )
        if self._shape not in (None, shape):
            raise ValueError(
                f"predict must return arrays of one shape, got {self._shape} and then {shape}"
            )
        self._shape = shape
        y = backend.detached(y)
        if self._kept is not None:  # A copy, since predict may reuse a buffer.
            self._kept.append(self._xp.astype(y, y.dtype, copy=True))
        return self._xp.astype(y, self._xp.float32) if name in HALVES else y


class Classes(Moments):
    """Mean and standard deviation of class probabilities, and how uncertain they are.

    The classes are along one axis of the outputs. Logits go through a softmax first.
    """

    def __init__(self, axis: int, *, logits: bool, keep: bool) -> None:
        super().__init__(keep=keep)
        self._axis, self._logits = axis, logits
        self._entropies = Running()

    def add(self, y: Array) -> None:
        """Add an output."""
        y = self._checked(y)
        xp = self._xp
        if not xp.isdtype(y.dtype, "real floating"):
            raise TypeError(f"classes have real numbers, got dtype {y.dtype}")
        if not -y.ndim <= self._axis < y.ndim:
            raise ValueError(
                f"axis {self._axis} of the classes is out of range for outputs of shape "
                f"{self._shape}"
            )
        if self._logits:
            y = softmax(xp, y, self._axis)
        elif self._outputs.count == 0:
            self._check_probabilities(y)
        self._outputs.add(xp, y)
        self._entropies.add(xp, entropy(xp, y, self._axis))

    def result(self) -> tuple[Array, Array, Array | None, Array | None]:
        """Return mean, standard deviation, predictive entropy and mutual information."""
        mean, std, *_ = super().result()
        whole = entropy(self._xp, mean, self._axis)
        shared = whole - self._entropies.mean
        # Rounding may make it negative.
        return mean, std, whole, self._xp.where(shared < 0, 0 * shared, shared)

    def _check_probabilities(self, y: Array) -> None:
        xp = self._xp
        if self._backend.lazy or self._backend.device(y) is None:
            return  # In a lazy graph or a compiler the values are unknown.
        sums = xp.sum(y, axis=self._axis)
        # Written so that NaN, for which each comparison is False, passes.
        if xp.any(y < 0) or xp.any(xp.abs(sums - 1) > TOLERANCE):
            raise ValueError(
                f"outputs='probabilities' must be >= 0 and sum to 1 along axis {self._axis}, and "
                "these do not: use outputs='logits', or another axis="
            )


def softmax(xp: Namespace, logits: Array, axis: int) -> Array:
    """Return the probabilities of logits, without overflow."""
    weights = xp.exp(logits - xp.max(logits, axis=axis, keepdims=True))
    return weights / xp.sum(weights, axis=axis, keepdims=True)


def entropy(xp: Namespace, probabilities: Array, axis: int) -> Array:
    """Return the entropy of probabilities along an axis, in nats, with 0 log 0 = 0."""
    logs = xp.log(xp.where(probabilities == 0, xp.ones_like(probabilities), probabilities))
    return 0.0 - xp.sum(probabilities * logs, axis=axis)  # +0, not -0, if one class is certain
