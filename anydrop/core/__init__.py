"""Plain data and its checks: the stream, recipes of masks, and no array library but NumPy."""
