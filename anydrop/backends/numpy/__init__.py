"""NumPy: kernels compiled by numba, or chunks of plain NumPy."""
