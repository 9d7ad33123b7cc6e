"""The conformance suite itself, which must name every kind of fault in a backend."""

import faults
import numpy as np
import pytest
from subjects import serving

from anydrop.testing import Subject, cases

DTYPES = ("float16", "float32", "complex64")


def failed(kernel, monkeypatch):
    subject = Subject("mine", np.array, DTYPES, kernel=kernel, compiled=faults.COMPILER)
    serving(monkeypatch, subject)
    names = set()
    for case in cases(subject):
        try:
            case()
        except Exception:
            names.add(case.check.__name__)
    return names


def test_a_sound_backend_passes(monkeypatch):
    assert not failed(faults.Sound(), monkeypatch)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (faults.AnotherLane, "published_masks"),
        (faults.OneWrongBit, "lengths"),
        (faults.ShortIndex, "masks_and_outputs_of_any_place"),
        (faults.ShortStep, "published_masks"),
        (faults.NoSharedAxes, "a_layer"),
        (faults.Multiplies, "nan_and_infinity"),
        (faults.LosesSigns, "affine_map_and_fill"),
        (faults.RoundsTheScale, "affine_map_and_fill"),
        (faults.IgnoresOut, "writing_to_out"),
        (faults.IgnoresFill, "affine_map_and_fill"),
        (faults.WidensHalf, "one_mask_for_all_dtypes"),
        (faults.OtherBits, "packed_bits"),
        (faults.TakesIntegers, "what_is_wrong_is_refused"),
        (faults.NormalsOfAnotherOrder, "normal_numbers"),
        (faults.AWrongCoefficient, "normal_numbers"),
        (faults.NormalsOfTheDtype, "normal_numbers"),
        (faults.NormalsOfNoWindow, "normal_numbers"),
        (faults.ALogarithmsRounding, "normal_numbers"),
        (faults.NormalsOfAnotherOrder, "gaussian_dropout"),
        (faults.OneRoundingOfNoise, "noise_of_any_place"),
        (faults.OneRoundingOfNoise, "gaussian_dropout"),
        (faults.OneRoundingOfNoise, "gaussian_noise"),
        (faults.NoiseOfTheHalf, "noise_of_any_place"),
        (faults.NewArraysForNoise, "noise_into_out"),
        (faults.AddsNoNoise, "gaussian_noise"),
        (faults.SwapsShares, "choices_of_any_place"),
        (faults.SwapsShares, "zoneout"),
        (faults.ChoosesByProducts, "choices_of_any_place"),
        (faults.NewArraysForStates, "zoneout_into_out"),
        (faults.CompilesFusedNoise, "noise_with_a_step"),
        (faults.BlocksOfNoStep, "drop_block"),
        (faults.AddsNoShift, "alpha_dropout"),
        (faults.KeepsAll, "drop_connect"),
        (faults.NoForward, "zoneout"),
        (faults.AddsTheBiasLast, "sums_with_a_bias"),
        (faults.AddsTheBiasLast, "sums_at_inference"),
        (faults.RoundsEachHalf, "sums_with_a_bias"),
        (faults.OneRounding, "sums_with_a_mask_of_any_place"),
        (faults.KeepsNegativeZeros, "sums_with_a_mask_of_any_place"),
        (faults.ResultsOfTheDtypeOfX, "sums_of_two_dtypes"),
        (faults.NewArraysForOut, "sums_into_out"),
        (faults.SumsInARow, "gradients_of_sums"),
        (faults.SumsInHalf, "gradients_of_sums"),
        (faults.AnotherLane, "token_dropout"),
        (faults.CompilesLayers, "a_layers_forward"),
        (faults.CompilesLayers, "a_layers_backward"),
        (faults.CompilesBackward, "a_layers_backward"),
        (faults.RefusesWithoutAWayOut, "a_layers_forward"),
        (faults.CompilesTheFirstStep, "a_function_with_a_step"),
    ],
)
def test_a_fault_is_named(fault, named, monkeypatch):
    assert named in failed(fault(), monkeypatch)
