"""JAX: pure XLA, so it goes wherever XLA goes."""
