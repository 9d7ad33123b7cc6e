"""Monte Carlo dropout: many passes of a model with its dropout on."""

from anydrop.monte_carlo.run import MonteCarlo, monte_carlo

__all__ = ["MonteCarlo", "monte_carlo"]
