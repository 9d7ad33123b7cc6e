"""The demo: the same perceptron, with and without dropout, on handwritten digits."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# The modules that the demo imports, and their packages.
NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "rich": "rich"}


def run(
    backend: str = "numpy",
    seeds: int = 5,
    out: str | Path = "anydrop-demo",
    *,
    images: int = 1000,
    epochs: int = 80,
    passes: int = 50,
) -> int:
    """Train with and without dropout, print the accuracies and draw three pictures.

    The perceptrons are written in plain array code around `anydrop.Dropout`, so they train on any
    array library. The handwritten digits come with scikit-learn, so nothing is downloaded.

    Parameters
    ----------
    backend : str, default "numpy"
        Array library to train with, by the name under which it is imported.
    seeds : int, default 5
        Number of networks to train of each kind. Each seed has its own split, wrong labels, weights
        and masks. The two networks of a seed differ only in dropout.
    out : str or Path, default "anydrop-demo"
        Folder for the pictures and ``results.txt``. It is created if it does not exist.
    images, epochs : int, defaults 1000 and 80
        Number of training images, 30 % of them mislabelled, and number of passes through them. The
        experiment without wrong labels has a fifth as many images and twice as many passes.
    passes : int, default 50
        Number of samples of Monte Carlo dropout.

    Returns
    -------
    int
        0, the exit status of the command line.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn, matplotlib or rich is missing.
    ValueError
        If the library can't be used, a number is out of range, or `out` can't be written to.

    Examples
    --------
    >>> import tempfile
    >>> run(seeds=1, out=tempfile.mkdtemp(), images=50, epochs=2, passes=2)
    trained ...
    0
    """
    if any(find_spec(name) is None for name in NEEDED):
        *most, last = NEEDED.values()
        raise ModuleNotFoundError(
            f"the demo needs {', '.join(most)} and {last}: python -m pip install 'anydrop[demo]'"
        )
    for name, value in (("seeds", seeds), ("epochs", epochs), ("passes", passes)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 5 <= images <= 1000:
        raise ValueError(f"images must satisfy 5 <= images <= 1000, got {images}")
    # Imported here, so that the package can be imported without these modules.
    from anydrop.demo.show import show

    show(backend, seeds, out, images, epochs, passes)
    return 0
