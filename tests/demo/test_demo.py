"""The demo: its gradients, the same training on two libraries, and what a short run leaves."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from subjects import available

import anydrop
from anydrop import Mask, demo
from anydrop.backends.capabilities import LIBRARIES
from anydrop.monte_carlo.statistics import entropy

missing = [name for module, name in demo.NEEDED.items() if not available(module)]
needed = pytest.mark.skipif(bool(missing), reason=f"the demo needs {', '.join(missing)}")

if not missing:
    from threadpoolctl import threadpool_limits

    from anydrop.demo.data import Setting
    from anydrop.demo.data import draw as draw_trial
    from anydrop.demo.learning import loss_gradient
    from anydrop.demo.network import Perceptron
    from anydrop.demo.tables import Pair, accuracies, split_by_certainty
    from anydrop.demo.training import (
        WITH,
        WITHOUT,
        Library,
        Outcome,
        accuracy,
        fingerprint,
        predict,
        prepare,
        train,
    )

    SHORT = Setting(images=60, wrong=0.3, epochs=2, batch=25)


@pytest.fixture(params=[name for name in LIBRARIES if LIBRARIES[name].features["eager"].works])
def library(request):
    if not available(request.param):
        pytest.skip(f"{request.param} is not installed here; nox -s tests-all runs this")
    if not anydrop.backends.load(request.param).probes():
        pytest.skip(f"{request.param} finds no device on this machine")
    return Library.named(request.param)


@pytest.fixture(autouse=True)
def one_thread():
    """As the demo does it: with more, small matrices wait for whoever else has the cores."""
    if missing:
        yield
    else:
        with threadpool_limits(1):
            yield


# The network -----------------------------------------------------------------------------------


@needed
def test_gradients_against_finite_differences():
    """Of every parameter, in float64, with the same masks in both directions."""
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(5, 6)), np.eye(3)[rng.integers(0, 3, 5)]
    network = Perceptron(
        (6, 8, 7, 3), (0.2, 0.5, 0.5), seed=np.random.SeedSequence(1), move=np.asarray
    )

    def loss():
        for layer in network.dropouts:
            layer.step = 3
        logits = network.forward(x, training=True)
        value = np.log(np.exp(logits).sum(axis=1)) - (target * logits).sum(axis=1)
        return value.mean(), loss_gradient(logits, target)

    gradients = network.backward(loss()[1])
    for value, gradient in zip(network.parameters, gradients, strict=True):
        assert gradient.shape == value.shape
        assert np.any(gradient)
        for i in np.ndindex(value.shape):
            here, differences = value[i], []
            for h in (1e-6, -1e-6):
                value[i] = here + h
                differences.append(loss()[0])
            value[i] = here
            slope = (differences[0] - differences[1]) / 2e-6
            assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-8)


@needed
def test_layers_drop_independently():
    network, *_ = prepare(SHORT, 0, WITH, Library.named("numpy"))
    keys = {Mask.from_seed((1,), 0.5, seed=layer.seed).key for layer in network.dropouts}
    assert len(keys) == len(network.dropouts) == 3


@needed
def test_evaluation_spends_no_mask(library):
    network, trial, _ = prepare(SHORT, 0, WITH, library)
    accuracy(network, trial.test_images, trial.test_labels, library)
    predict(network, trial.test_images, library)
    assert [layer.step for layer in network.dropouts] == [0, 0, 0]
    assert [layer.mask for layer in network.dropouts] == [None, None, None]
    network.forward(library.move(trial.images), training=True)
    before = [library.backend.to_numpy(layer.mask) for layer in network.dropouts]
    accuracy(network, trial.test_images, trial.test_labels, library)
    for layer, mask in zip(network.dropouts, before, strict=True):
        assert layer.step == 1
        assert np.array_equal(library.backend.to_numpy(layer.mask), mask)


# Training --------------------------------------------------------------------------------------


@needed
@pytest.mark.parametrize("ps", [(0.0, 0.0, 0.0), (0.1, 0.5, 0.5)])
def test_trains_alike_on_every_library(library, ps):
    ticks = []
    run = train(SHORT, 0, ps, library, lambda: ticks.append(1))
    assert len(ticks) == SHORT.epochs == 2
    reference = train(SHORT, 0, ps, Library.named("numpy"), lambda: None)
    start, *_ = prepare(SHORT, 0, ps, Library.named("numpy"))
    networks = run.network, reference.network, start
    for a, b, c in zip(*(network.parameters for network in networks), strict=True):
        assert type(a) is type(library.like)
        a = library.backend.to_numpy(a)
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert np.max(np.abs(a - c)) > 1e-3
    np.testing.assert_allclose(run.test, reference.test, atol=0.005)
    assert [layer.step for layer in run.network.dropouts] == [6, 6, 6]


@needed
def test_pairs_differ_in_dropout_alone():
    library = Library.named("numpy")
    a, b = (prepare(SHORT, 3, ps, library) for ps in (WITHOUT, WITH))
    for left, right in zip(a[0].parameters, b[0].parameters, strict=True):
        assert np.array_equal(left, right)
    for left, right in zip(a[1], b[1], strict=True):
        assert np.array_equal(left, right)
    assert np.array_equal(a[2].permutation(9), b[2].permutation(9))


@needed
def test_mislabelled_share():
    seed = np.random.SeedSequence(5)
    wrong = draw_trial(Setting(1000, 0.3, 1, 1), seed)
    right = draw_trial(Setting(1000, 0.0, 1, 1), seed)
    assert np.array_equal(wrong.images, right.images)
    assert np.sum(wrong.labels != right.labels) == 300
    assert wrong.images.shape == (1000, 64)
    assert wrong.test_images.shape == (797, 64)
    assert set(wrong.labels) == set(range(10))
    both = np.concatenate([wrong.images, wrong.test_images])
    assert len(np.unique(both, axis=0)) == 1797  # No two digits are equal, so none is in both.


# Masks and certainty ---------------------------------------------------------------------------


@needed
def test_fingerprint_is_that_of_the_recipes(library):
    """Against the masks that the seeds' recipes describe, whatever the layers did."""
    network, *_ = prepare(SHORT, 0, WITH, library)
    combined = hashlib.sha256()
    for step in range(2):
        for layer, p, width in zip(network.dropouts, WITH, (64, 256, 256), strict=True):
            mask = Mask.from_seed((SHORT.batch, width), p, seed=layer.seed, step=step)
            combined.update(mask.digest().encode())
    assert fingerprint(SHORT, 0, library, steps=2) == combined.hexdigest()


@needed
def test_the_printed_fingerprint_never_changes(library):
    """That of `python -m anydrop demo`, whatever its other options."""
    digest = "5d5f529fb1fb1c09e7e1d6d280dfa298a8875c4832de5cbc1c27d1efdbdc0bb4"
    assert fingerprint(Setting(1000, 0.3, 80, 100), 0, library) == digest


@needed
def test_passes_are_those_of_three_thinned_networks(library):
    """Drawn by hand here, from the children of seed 0; the layers stay as they are."""
    network, trial, _ = prepare(SHORT, 0, WITH, library)
    images = trial.test_images[:20]
    probabilities = predict(network, images, library, passes=3)
    assert [layer.step for layer in network.dropouts] == [0, 0, 0]
    assert probabilities.shape == (20, 10)
    children = np.random.SeedSequence(0).spawn(3)
    network.dropouts = [
        anydrop.Dropout(layer.p, seed=child)
        for layer, child in zip(network.dropouts, children, strict=True)
    ]
    x, by_hand = library.move(images), []
    for _ in range(3):
        logits = library.backend.to_numpy(network.forward(x, training=True)).astype("f8")
        weights = np.exp(logits)
        by_hand.append(weights / weights.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, np.mean(by_hand, axis=0), rtol=1e-4, atol=1e-6)


@needed
def test_certainty():
    sure, unsure, half = np.eye(4)[1], np.full(4, 0.25), np.array([0.5, 0.5, 0, 0])
    probabilities = np.stack([unsure, sure, half, sure, sure])
    expected = [np.log(4), 0, np.log(2), 0, 0]
    np.testing.assert_allclose(entropy(np, probabilities, axis=1), expected, atol=1e-12)
    # Wrong on the first and the third; four of the five count as certain.
    assert split_by_certainty(probabilities, np.array([3, 1, 2, 1, 1])) == [0.6, 0.75, 0.0]


@needed
@pytest.mark.parametrize(
    ("tests", "title", "row"),
    [
        ([0.90, 0.92, 0.94], "dropout gains 20.0 ± 0.0 points", ["92.0 ± 1.2", "+20.0 ± 0.0"]),
        ([0.50, 0.52, 0.54], "dropout loses 20.0 ± 0.0 points", ["52.0 ± 1.2", "-20.0 ± 0.0"]),
        (
            [0.50, 0.72, 0.94],
            "+0.0 ± 11.5 points with dropout, which 3 seeds can't tell from chance",
            ["72.0 ± 12.7", "+0.0 ± 11.5"],
        ),
        (
            [0.876],
            "+17.6 points with dropout in one seed, which can't tell the spread",
            ["87.6", "+17.6"],
        ),
    ],
)
def test_what_a_table_claims(tests, title, row):
    """The error of the difference is that of pairs."""

    def runs(tests):
        return [
            Outcome(None, None, np.arange(2), np.array([0, 0.5]), np.array([0, test]))
            for test in tests
        ]

    pair = Pair(runs([0.70, 0.72, 0.74][: len(tests)]), runs(tests))
    table = accuracies(SHORT, pair)
    assert table.title == f"60 training images, 30 % of them mislabelled:\n{title}"
    cells = [list(column.cells) for column in table.columns]
    without = "70.0" if len(tests) == 1 else "72.0 ± 1.2"
    assert [column[0] for column in cells] == ["test", without, *row]


# The whole -------------------------------------------------------------------------------------


@needed
@pytest.mark.parametrize("seeds", [1, 2])
def test_run(tmp_path, capsys, seeds):
    out = tmp_path / "new" / "folder"
    assert demo.run(seeds=seeds, out=out, images=50, epochs=2, passes=3) == 0
    printed = capsys.readouterr().out
    text = (out / "results.txt").read_text(encoding="utf-8")
    for line in text.split("\n"):
        assert line.rstrip() in printed
    error = r" ± \d+\.\d" if seeds > 1 else ""
    number = r"\d+\.\d" + error
    for row in ("test", r"test, at the best epoch\*", "train, on the given labels"):
        cells = rf"  {row} +{number} +{number} +[+-]{number}"
        assert len(re.findall(cells, text)) == 2
    assert re.search(rf"  mean of the passes +{number} +{number} +{number}", text)
    assert re.search(r"^[0-9a-f]{64}$", text, re.MULTILINE)
    assert "50 training images, 30 % of them mislabelled" in text
    assert "10 training images, clean labels" in text

    from matplotlib.image import imread

    for name in ("curves.png", "masks.png", "uncertain.png"):
        picture = imread(out / name)
        height, width = picture.shape[:2]
        assert width == 1104
        assert 500 <= height <= 700
        ink = np.mean(picture[..., :3].min(axis=2) < 0.95)
        assert 0.02 < ink < 0.6
        assert str(out / name) in printed


@needed
def test_a_folder_is_named_as_it_is(tmp_path, capsys):
    """Whatever rich would make of it."""
    out = tmp_path / "[bold] [" / "b] :smile:"
    demo.run(seeds=1, out=out, images=50, epochs=1, passes=1)
    assert str(out / "results.txt") in capsys.readouterr().out


@pytest.fixture
def no_training(monkeypatch):
    def train(*arguments):
        raise AssertionError("trained, though there is nowhere to write to")

    monkeypatch.setattr("anydrop.demo.show.train", train)


def in_the_way(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file", "File exists"


def below_a_file(tmp_path):
    (tmp_path / "file").touch()
    return tmp_path / "file" / "new", "Not a directory"


def read_only(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    # Root may write there, but not into the kernel's.
    return Path("/proc/self") if os.access(folder, os.W_OK) else folder, ""


def results_in_the_way(tmp_path):
    (tmp_path / "results.txt").mkdir()
    return tmp_path, f"Is a directory: '{tmp_path / 'results.txt'}'"


def no_name(tmp_path):
    return "", "No such file or directory"


@needed
@pytest.mark.parametrize(
    "place", [in_the_way, below_a_file, read_only, results_in_the_way, no_name]
)
def test_nowhere_to_write_to(tmp_path, no_training, place):
    out, reason = place(tmp_path)
    message = f"out must be a folder that the demo can write to, got {str(out)!r} ({reason}"
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        demo.run(out=out)
    assert str(caught.value).endswith(": name another one, or move what is in the way")


@needed
def test_a_folder_is_checked_without_a_trace(tmp_path, monkeypatch):
    monkeypatch.setattr("anydrop.demo.show.train", lambda *arguments: 1 / 0)
    (tmp_path / "results.txt").write_text("of an earlier run")
    with pytest.raises(ZeroDivisionError):
        demo.run(out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.txt"]
    assert (tmp_path / "results.txt").read_text() == "of an earlier run"


@needed
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backend": "nonesuch"}, "the demo can't train with 'nonesuch'; installed here: numpy"),
        ({"backend": "dask"}, "the demo can't train with 'dask'"),
        ({"backend": ""}, "the demo can't train with ''; installed here: numpy"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"passes": 0}, "passes must be at least 1, got 0"),
        ({"images": 4}, "images must satisfy 5 <= images <= 1000, got 4"),
        ({"images": 1001}, "images must satisfy 5 <= images <= 1000, got 1001"),
    ],
)
def test_bad_arguments(tmp_path, wrong, message):
    out = tmp_path / "untouched"
    with pytest.raises(ValueError, match=re.escape(message)):
        demo.run(out=out, **wrong)
    assert not out.exists()


@pytest.mark.parametrize("module", demo.NEEDED)
def test_missing_package(monkeypatch, module):
    find = importlib.util.find_spec
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(ModuleNotFoundError) as caught:
        demo.run()
    assert str(caught.value) == (
        "the demo needs scikit-learn, matplotlib and rich: python -m pip install 'anydrop[demo]'"
    )


def test_importing_the_demo_imports_none_of_its_packages():
    code = "import sys, anydrop.demo; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, check=True, text=True)
    assert not set(demo.NEEDED) & set(result.stdout.split())
