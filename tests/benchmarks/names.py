"""The names of the contestants and measures: keys of the stored results."""

from typing import NamedTuple

P = (0.1, 0.5)

MULTIPLY, MULTIPLY_ONE = "multiply, into out", "multiply, into out, one thread"
OURS, INTO = "anydrop", "anydrop, into out"
INTO_ONE, INTO_TWO = f"{INTO}, one thread", f"{INTO}, two threads"
PLAIN = "anydrop without numba"
EXPRESSION = "x * ((rng.random(x.shape) < keep) / keep)"
CAREFUL = "the same, its numbers in float32 and its factor in x's dtype"
STORED = "gradient * factor, which was kept"
ONE, ALL = "one thread", "all threads"

COPY = "np.copyto"

# For keep masks, and for dropout_add.
KEEP, RANDOM = "mask.keep(like=x)", "rng.random(x.shape) < p"
ADD, ADD_ONE = "np.add(x, residual, out)", "np.add(x, residual, out), one thread"
SUM_EXPRESSION = "residual + (x + bias) * ((rng.random(x.shape) < keep) / keep)"
EAGER = "residual + F.dropout(x + bias)"
COMPILED = f"torch.compile of {EAGER}"

# For noise and zoneout.
NORMALS = "x * (1 + std * rng.standard_normal(dtype=x.dtype)), into out, all threads"
NORMALS_ONE = NORMALS.replace("all threads", "one thread")
RANDN_LIKE = "(torch.randn_like(x) * std + 1) * x"
JAX_NORMAL = "(jax.random.normal(key, x.shape) * std + 1) * x"
ADD_STATES, ADD_STATES_ONE = "np.add(new, previous, out)", "np.add(new, previous, out), one thread"

MULTIPLIED = "multiply"
F_DROPOUT = "torch.nn.functional.dropout"
THREEFRY, RBG = "where(jax.random.bernoulli(threefry))", "where(jax.random.bernoulli(rbg))"

WHOLE, CHUNKS = "anydrop on the array in one piece", "anydrop on 16 chunks"
JOINED, DASK_MULTIPLY = "the same, joined to one array", "multiply on 16 chunks"

LAYER, TENSOR = "anydrop's layer, NumPy", "anydrop's layer, PyTorch"
FUNCTION, MODULE = "anydrop.dropout, NumPy", "torch.nn.Dropout"
UNSEEDED, SEEDED = "anydrop.torch.Dropout", "anydrop.torch.Dropout, with a seed"
FOLLOWED, F_FOLLOWED = f"{TENSOR}, requires grad", f"{F_DROPOUT}, requires grad"

# For a model's training step.
STOCK, CONVERTED = "PyTorch's own model", "anydrop.torch.convert(model, seed=0)"
STOCK_WITHOUT, CONVERTED_WITHOUT = f"{STOCK}, p = 0", f"{CONVERTED}, p = 0"

# Measures outside the contests.
KEPT = "bytes an element that {} keeps from forward to backward"
PEAK = "MB beyond the results of a forward and a backward, {}"
FIRST_CALL, IMPORT = (
    "seconds of the first call in a process",
    "seconds of import anydrop after numpy",
)


class Processor(NamedTuple):
    """A processor that LLVM has a name for.

    Attributes
    ----------
    text : str
        Its description.
    needs : str
        The feature that a machine needs to run the code.
    features : str
        The features to pass to numba. They decide which form of the kernels numba compiles.
    """

    text: str
    needs: str
    features: str = ""


AVX2 = "+avx2,+f16c"
PROCESSORS = {
    "x86-64-v4": Processor("with AVX-512", "avx512bw", AVX2),
    "x86-64-v3": Processor("with AVX2", "avx2", AVX2),
    "x86-64-v2": Processor("with SSE4.2 and no AVX", "sse4.2"),
    "x86-64": Processor("with SSE2 only", "sse2"),
}
