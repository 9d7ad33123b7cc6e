"""What a function's `return_mask` returns: masks and noise, described and not stored."""
