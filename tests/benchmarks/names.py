"""The contestants' names, by which goals, tables and pictures find their times."""

P = (0.1, 0.5)

MULTIPLY, MULTIPLY_ONE = "multiply, into out", "multiply, into out, one thread"
OURS, INTO = "anydrop", "anydrop, into out"
INTO_ONE, PLAIN = "anydrop, into out, one thread", "anydrop without numba"
EXPRESSION = "x * ((rng.random(x.shape) < keep) / keep)"
STORED = "gradient * factor, which was kept"
ONE, ALL = "one thread", "all threads"

MULTIPLIED = "multiply"
F_DROPOUT = "torch.nn.functional.dropout"
THREEFRY, RBG = "where(jax.random.bernoulli(threefry))", "where(jax.random.bernoulli(rbg))"

WHOLE, CHUNKS = "anydrop on the array in one piece", "anydrop on 16 chunks"
JOINED, DASK_MULTIPLY = "the same, joined to one array", "multiply on 16 chunks"

LAYER, TENSOR = "anydrop's layer, NumPy", "anydrop's layer, PyTorch"
FUNCTION, MODULE = "anydrop.dropout, NumPy", "torch.nn.Dropout"
# Of what is measured and not raced.
KEPT = "bytes an element that {} keeps from forward to backward"
PEAK = "MB beyond the results of a forward and a backward, {}"
FIRST_CALL, IMPORT = (
    "seconds of the first call in a process",
    "seconds of import anydrop after numpy",
)

FOLLOWED, F_FOLLOWED = f"{TENSOR}, requires grad", f"{F_DROPOUT}, requires grad"
