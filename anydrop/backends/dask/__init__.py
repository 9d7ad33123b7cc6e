"""Dask: graphs of chunks."""
