"""Monte Carlo dropout: run a model many times with its dropout on."""
