"""Standard normal numbers from the stream's words, in any namespace.

The word w of an index becomes the normal number below which a fraction (w + 1/2) / 2**32 of all
normal numbers lie: the quantile, by algorithm AS241 of M. J. Wichura, *The percentage points of the
normal distribution*, Applied Statistics 37, 1988. Each number takes one word, so that it depends on
its index alone, as a fate does. Libraries differ in the last places of a logarithm, and compilers
in how they round a product that is added, so these numbers agree to a tolerance and not to the bit.
"""

from __future__ import annotations

from anydrop.core.typing import Array, Namespace

# Nearer to the median than this, of a probability, one rational function serves; beyond, another
# one of sqrt(-log(probability)). The algorithm has a third, for tails that no word of 32 bits has.
CENTRAL = 0.425
# What the first function takes is the square of a distance subtracted from that of CENTRAL; from
# what the other takes this is subtracted.
CENTRAL_SQUARED = 0.180625
TAIL = 1.6


# PPND7, of seven decimal places, and PPND16. Each function is two polynomials, the dividend and the
# divisor, given by their coefficients, the constant ones first.
QUANTILES = {
    ("float32", "central"): (
        (3.3871327179e0, 5.0434271938e1, 1.5929113202e2, 5.9109374720e1),
        (1.0, 1.7895169469e1, 7.8757757664e1, 6.7187563600e1),
    ),
    ("float32", "tail"): (
        (1.4234372777e0, 2.7568153900e0, 1.3067284816e0, 1.7023821103e-1),
        (1.0, 7.3700164250e-1, 1.2021132975e-1),
    ),
    ("float64", "central"): (
        (
            *(3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3),
            *(1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4),
            *(3.3430575583588128105e4, 2.5090809287301226727e3),
        ),
        (
            *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2),
            *(5.3941960214247511077e3, 2.1213794301586595867e4, 3.9307895800092710610e4),
            *(2.8729085735721942674e4, 5.2264952788528545610e3),
        ),
    ),
    ("float64", "tail"): (
        (
            *(1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0),
            *(3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1),
            *(2.27238449892691845833e-2, 7.74545014278341407640e-4),
        ),
        (
            *(1.0, 2.05319162663775882187e0, 1.67638483018380384940e0),
            *(6.89767334985100004550e-1, 1.48103976427480074590e-1),
            *(1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
        ),
    ),
}


def standard_normal(xp: Namespace, words: Array, dtype: str) -> Array:
    """Return the standard normal numbers of words.

    Parameters
    ----------
    xp : namespace
        Of the array API.
    words : array of any shape
        Of 32 bits each, in any type of integers that holds them as they are.
    dtype : {"float32", "float64"}
        Of the numbers.

    Returns
    -------
    array of that dtype, shape of `words`
    """
    to = getattr(xp, dtype)
    # Choices are products with 0 and 1, which take a fraction of the time of `where`, and all
    # numbers here are finite.
    upper = words >> 31
    # How many words lie between this one and the end on its side of the median. Counted before
    # anything is rounded, both distances keep all their digits, and the two sides are alike.
    from_end = words ^ (upper * 0xFFFFFFFF)
    beyond = (xp.astype(from_end, to) + 0.5) * 2.0**-32
    from_median = (xp.astype(from_end ^ 0x7FFFFFFF, to) + 0.5) * 2.0**-32
    near = from_median * _ratio((dtype, "central"), CENTRAL_SQUARED - from_median * from_median)
    far = _ratio((dtype, "tail"), xp.sqrt(-xp.log(beyond)) - TAIL)
    is_near = xp.astype(from_median <= CENTRAL, to)
    magnitude = near * is_near + far * (1.0 - is_near)
    return magnitude * (xp.astype(upper, to) * 2.0 - 1.0)


def _ratio(name: tuple[str, str], x: Array) -> Array:
    dividend, divisor = QUANTILES[name]
    return _polynomial(dividend, x) / _polynomial(divisor, x)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    constant, *rest = coefficients
    y = x * rest.pop()
    while rest:
        y += rest.pop()
        y *= x
    return y + constant
