"""The dropout functions and layers: one module for each family."""
