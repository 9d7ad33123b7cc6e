"""Statistics of arrays that come one after another, of which none is kept."""

from __future__ import annotations

from anydrop.backends import resolve
from anydrop.backends.base import COMPUTE, HALVES
from anydrop.core import check
from anydrop.core.typing import Array, Namespace

#: By how much probabilities may add up to more or less than 1.
TOLERANCE = 0.01


class Running:
    """Mean and variance of arrays, by Welford's formulas.

    They subtract the mean so far before anything is squared, so a spread that is small beside the
    mean is not lost to rounding.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = 0.0
        self._squares: Array = 0.0

    def add(self, xp: Namespace, y: Array) -> None:
        """Take an array into account."""
        self.count += 1
        before = y - self.mean
        self.mean = self.mean + before / self.count
        self._squares = self._squares + _product(xp, before, y - self.mean)

    def std(self, xp: Namespace) -> Array:
        """Return the standard deviation, with the number of arrays as divisor."""
        return xp.sqrt(self._squares / self.count)


def _product(xp: Namespace, a: Array, b: Array) -> Array:
    """Return the real part of the product of one number with the other's conjugate."""
    if xp.isdtype(a.dtype, "complex floating"):
        return xp.real(a) * xp.real(b) + xp.imag(a) * xp.imag(b)
    return a * b


class Moments:
    """Mean and standard deviation of outputs, which are kept if that is wanted."""

    def __init__(self, *, keep: bool) -> None:
        self._outputs = Running()
        self._kept: list[Array] | None = [] if keep else None
        self._shape: tuple[int, ...] | None = None

    def add(self, y: Array) -> None:
        """Take an output into account."""
        y = self._checked(y)
        self._outputs.add(self._xp, y)

    def result(self) -> tuple[Array, Array, Array | None, Array | None]:
        """Return mean and standard deviation, and the two statistics that only classes have."""
        return self._outputs.mean, self._outputs.std(self._xp), None, None

    def outputs(self) -> Array | None:
        """Return the outputs as they came, one after another along a new first axis, if kept."""
        return None if self._kept is None else self._xp.stack(self._kept)

    def _checked(self, y: Array) -> Array:
        """Return an output as numbers to reckon with: no half types, and no graph of gradients."""
        try:
            self._backend = backend = resolve(y)
        except TypeError as error:
            raise TypeError(
                f"predict must return one array, got {check.described(y)}: {error}"
            ) from error
        self._xp, name, shape = backend.xp, backend.dtype_name(y), backend.shape(y)
        if name not in COMPUTE:
            raise TypeError(
                f"predict must return floating-point numbers, got dtype {name}: a mean of integers "
                "is none, and that of classes means nothing; return what they are chosen by"
            )
        if self._shape not in (None, shape):
            raise ValueError(
                f"predict must return arrays of one shape, got {self._shape} and then {shape}"
            )
        self._shape = shape
        y = backend.detached(y)
        if self._kept is not None:  # A copy, as predict may write each output to one buffer.
            self._kept.append(self._xp.astype(y, y.dtype, copy=True))
        return self._xp.astype(y, self._xp.float32) if name in HALVES else y


class Classes(Moments):
    """Mean and standard deviation of class probabilities, and how uncertain they are.

    The classes are on one axis of the outputs. Of logits a softmax is taken.
    """

    def __init__(self, axis: int, *, logits: bool, keep: bool) -> None:
        super().__init__(keep=keep)
        self._axis, self._logits = axis, logits
        self._entropies = Running()

    def add(self, y: Array) -> None:
        """Take an output into account."""
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
        # It is never negative, but its rounding may be.
        return mean, std, whole, self._xp.where(shared < 0, 0 * shared, shared)

    def _check_probabilities(self, y: Array) -> None:
        xp = self._xp
        if self._backend.lazy or self._backend.device(y) is None:
            return  # Nobody knows the numbers before a graph is computed, nor in a compiler.
        sums = xp.sum(y, axis=self._axis)
        # Put so that a NaN, which answers no to everything, is let through.
        if xp.any(y < 0) or xp.any(xp.abs(sums - 1) > TOLERANCE):
            raise ValueError(
                f"outputs='probabilities' must be >= 0 and add up to 1 along axis {self._axis}, "
                "and these do not: is it outputs='logits', or another axis=?"
            )


def softmax(xp: Namespace, logits: Array, axis: int) -> Array:
    """Return the probabilities of logits of any size."""
    weights = xp.exp(logits - xp.max(logits, axis=axis, keepdims=True))
    return weights / xp.sum(weights, axis=axis, keepdims=True)


def entropy(xp: Namespace, probabilities: Array, axis: int) -> Array:
    """Return the entropy of probabilities along an axis, in nats; 0 log 0 is 0."""
    logs = xp.log(xp.where(probabilities == 0, xp.ones_like(probabilities), probabilities))
    return 0.0 - xp.sum(probabilities * logs, axis=axis)  # not -0, where all are sure
