"""Monte Carlo dropout: many passes of a model with its dropout on."""
