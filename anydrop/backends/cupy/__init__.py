"""CuPy: the stream in CUDA."""
