"""The catalogue: each file holds a dropout function and the layer around it."""
