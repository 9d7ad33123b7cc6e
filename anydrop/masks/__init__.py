"""The masks and the noise that `return_mask` returns."""
