"""PyTorch: the host's memory, Triton on CUDA, int64 arithmetic elsewhere."""
