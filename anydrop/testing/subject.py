"""`Subject`: the library, device and kernel that are tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from anydrop.backends import resolve
from anydrop.backends.base import COMPUTE, Backend
from anydrop.core.typing import Array
from anydrop.masks.mask import Mask
from anydrop.testing import reference

# The dtypes that anydrop supports, by name.
DTYPES = tuple(COMPUTE)


class Subject(NamedTuple):
    """What to test: a library, on one device, with one kernel.

    Parameters
    ----------
    name : str
        First part of the cases' names.
    array : callable
        Makes an array of the library from a NumPy array, with its dtype and shape.
    dtypes : tuple of str, optional
        The dtypes of the library; by default all that anydrop supports. NumPy arrays of bfloat16
        come from the package ``ml_dtypes``.
    out : bool, default True
        Whether the library's arrays can be written to. If not, ``out=`` must be refused.
    namespace : bool, default True
        Whether the library has an array API namespace. If not, the variants that need one must be
        refused.
    flushes : bool, default False
        Whether the library's arithmetic turns subnormal numbers into zeros.
    kernel : Backend, optional
        The backend to test; by default the one that is registered for the arrays.
    compiled : callable, optional
        Compiles a function of arrays, such as ``jax.jit``, if the library has a compiler.

    Examples
    --------
    >>> import numpy as np
    >>> from anydrop.testing import Subject, cases
    >>> subject = Subject("numpy", np.array, dtypes=("float32",))
    >>> for case in cases(subject):
    ...     case()
    """

    name: str
    array: Callable[[np.ndarray[Any, Any]], Array]
    dtypes: tuple[str, ...] = DTYPES
    out: bool = True
    namespace: bool = True
    flushes: bool = False
    kernel: Backend | None = None
    compiled: Callable[[Callable[..., Array]], Callable[..., Array]] | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def backend(self) -> Backend:
        """The backend that is tested."""
        return self.kernel or resolve(self.array(np.zeros(1, np.float32)))

    def numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """Return an array of the subject's library as a NumPy array."""
        return self.backend.to_numpy(x)

    def ones(self, *shape: int) -> Array:
        """Return float32 ones."""
        return self.array(np.ones(shape, np.float32))

    def check(self, got: Array, expected: np.ndarray[Any, Any], like: Array | None = None) -> None:
        """Raise AssertionError unless `got` has the bits of `expected`, on the device of `like`."""
        here = self._here(got, expected, expected.dtype, like)
        self._require(_bytes(here) == _bytes(expected), here, expected)

    def check_close(
        self,
        got: Array,
        expected: np.ndarray[Any, Any],
        allowed: np.ndarray[Any, Any],
        dtype: Any,
        like: Array | None = None,
    ) -> None:
        """Raise AssertionError unless `got` differs from `expected` by at most `allowed`."""
        here = self._here(got, expected, np.dtype(dtype), like).astype(expected.dtype)
        self._require((np.abs(here - expected) <= allowed)[..., None], here, expected)

    def _here(
        self, got: Array, expected: np.ndarray[Any, Any], dtype: Any, like: Array | None
    ) -> np.ndarray[Any, Any]:
        """Return an array as NumPy's, after checks of its library, dtype, shape and device."""
        backend = self.backend
        if like is not None:
            assert type(got) is type(like), f"got a {type(got)}, not a {type(like)}"
            assert backend.device(got) == backend.device(like), "the result is on another device"
        assert backend.owns(got), f"{type(got)} is no array of {backend.name}"
        here = self.numpy(got)
        assert here.dtype == dtype, f"got {here.dtype}, not {dtype}"
        assert here.shape == expected.shape, f"got the shape {here.shape}, not {expected.shape}"
        return here

    def _require(self, right: Any, got: Any, expected: np.ndarray[Any, Any]) -> None:
        """Raise AssertionError, with the first wrong element, unless all are right."""
        wrong = np.argwhere(~right.all(axis=-1))
        if len(wrong):
            at = tuple(map(int, wrong[0]))
            raise AssertionError(
                f"{self.name}: {len(wrong)} of {got.size} elements differ, the first at {at} of "
                f"the shape {got.shape}: got {got[at]!r}, expected {expected[at]!r}"
            )

    def check_recipe(self, dtype: Any, recipe: dict[str, Any], numbers_seed: int = 0) -> None:
        """Check the mask of a recipe, and its result for numbers of all kinds.

        Parameters
        ----------
        dtype : numpy.dtype
            Dtype of the numbers.
        recipe : dict
            Arguments of `anydrop.Mask.from_seed`.
        numbers_seed : int
            Seed of the numbers.
        """
        x = reference.numbers(recipe["shape"], dtype, np.random.default_rng(numbers_seed))
        kept, mask, array = reference.keep(**recipe), Mask.from_seed(**recipe), self.array(x)
        self.check(mask.keep(like=array), kept)
        y = mask.apply(array)
        if mask.drops:
            self.check(y, self.select(x, kept, mask.scale), like=array)
        else:
            assert y is array, "at p = 0 nothing is dropped, and the array comes back as it is"

    def select(self, x: np.ndarray[Any, Any], *arguments: Any) -> np.ndarray[Any, Any]:
        """Return the expected result in the library's arithmetic; see `reference.select`."""
        return reference.select(x, *arguments, flush=self.flushes)

    def perturb(self, x: np.ndarray[Any, Any], *arguments: Any) -> np.ndarray[Any, Any]:
        """Return the expected result in the library's arithmetic; see `reference.perturb`."""
        return reference.perturb(x, *arguments, flush=self.flushes)

    def select_add(self, x: np.ndarray[Any, Any], *arguments: Any) -> np.ndarray[Any, Any]:
        """Return the expected result in the library's arithmetic; see `reference.select_add`."""
        return reference.select_add(x, *arguments, flush=self.flushes)


def _bytes(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the bytes of each element along a new last axis; see `reference.bits`."""
    return np.frombuffer(reference.bits(x), np.uint8).reshape(*x.shape, x.dtype.itemsize)


def dtype_of(name: str) -> Any:
    """Return NumPy's dtype of a name; bfloat16 comes from the package ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def refused(kind: type[Exception], call: Callable[[], Any], named: str) -> None:
    """Raise AssertionError unless a call raises, with a message that contains `named`."""
    try:
        call()
    except kind as error:
        assert named in str(error), f"the message names no {named!r}: {error}"
    else:
        raise AssertionError(f"no {kind.__name__} was raised about {named!r}")
