"""A whole model at once: `convert`, `revert`, and `remaining`, which names what is left."""
