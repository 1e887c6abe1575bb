"""Correlations against pandas, statsmodels and scikit-learn on real returns, and properties."""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations, combinations_with_replacement

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from db.nearest_correlation import complete_part, nearest_correlation
from jobs.analytics import correlation, pairs, ranks, sums
from jobs.analytics.correlation import METHODS, ewma, pearson
from jobs.analytics.matrices import ledoit_wolf, shrunk_correlation
from jobs.analytics.pairs import Correlation
from jobs.analytics.ranks import spearman
from jobs.analytics.returns import Floats, log_returns
from tests.support.recordings import load


@cache
def recorded() -> Floats:
    """Log returns of 30 real days of ten pairs.

    Hours are missing at random, by session and from the start.
    """
    returns = log_returns(load().closes[:, 1:722])[:, 1:].copy()
    hours = np.arange(720)
    returns[np.random.default_rng(3).random(returns.shape) < 0.05] = np.nan
    returns[2, hours % 24 >= 7] = np.nan  # one short session
    returns[3, hours % 24 < 5] = np.nan
    returns[4, :300] = np.nan
    return returns


@cache
def complete() -> Floats:
    return log_returns(load().closes[:, 1000:1721])[:, 1:]


def oracle(method: str, returns: Floats, minimum: int) -> Floats:
    if method != "ewma":
        return pd.DataFrame(returns.T).corr("spearman" if method == "spearman" else "pearson", min_periods=minimum).to_numpy()
    # Of a pair and its reverse, pandas computes the same products: each pair is computed once.
    found = np.empty((len(returns), len(returns)))
    for one, two in combinations_with_replacement(range(len(returns)), 2):
        found[one, two] = found[two, one] = pandas_ewma(returns[one], returns[two], minimum)
    return found


def pandas_ewma(first: Floats, second: Floats, minimum: int) -> float:
    one, two = pd.Series(first), pd.Series(second)
    if int((one * two).notna().sum()) < minimum:
        return math.nan
    products = (one * two, (one * one).where(two.notna()), (two * two).where(one.notna()))
    means = [float(product.ewm(alpha=0.06, adjust=True, ignore_na=False).mean().iloc[-1]) for product in products]
    return means[0] / math.sqrt(means[1] * means[2]) if means[1] > 0 and means[2] > 0 else math.nan


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Few instruments; `large` uses single precision, as for many instruments."""
    if request.param == "large":
        monkeypatch.setattr(sums, "LARGE", 0)
    return str(request.param)


def assert_close(ours: Floats, theirs: Floats, tolerance: float = 1e-9) -> None:
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def assert_sound(result: Correlation) -> None:
    """Check symmetry, the range [-1, 1], and a diagonal of 1 or NaN."""
    np.testing.assert_array_equal(result.matrix, result.matrix.T)
    np.testing.assert_array_equal(result.counts, result.counts.T)
    assert np.nanmax(np.abs(result.matrix), initial=0.0) <= 1.0
    diagonal = np.diagonal(result.matrix)
    assert (diagonal[~np.isnan(diagonal)] == 1.0).all()


# --- oracles


@pytest.mark.parametrize("minimum", [2, 30, 200])
@pytest.mark.parametrize("method", METHODS)
def test_method_equals_its_oracle_on_real_returns(method: str, minimum: int) -> None:
    result = METHODS[method](recorded(), minimum)
    assert_close(result.matrix, oracle(method, recorded(), minimum))
    assert_sound(result)
    known = pd.DataFrame(recorded().T).notna().to_numpy().astype(int)
    np.testing.assert_array_equal(result.counts, known.T @ known)
    assert np.isnan(result.matrix).any() == (minimum == 200)


def test_complete_returns_equal_statsmodels_and_pandas() -> None:
    from statsmodels.stats.weightstats import DescrStatsW

    assert_close(pearson(complete()).matrix, DescrStatsW(complete().T).corrcoef)
    assert_close(spearman(complete()).matrix, pd.DataFrame(complete().T).rank().corr().to_numpy())


def test_ewma_equals_the_recursion_of_riskmetrics() -> None:
    first, second = complete()[:2]
    covariance, variance1, variance2 = 0.0, 0.0, 0.0
    for one, two in zip(first, second, strict=True):
        covariance = 0.94 * covariance + 0.06 * one * two
        variance1, variance2 = 0.94 * variance1 + 0.06 * one * one, 0.94 * variance2 + 0.06 * two * two
    assert ewma(complete()[:2]).matrix[0, 1] == pytest.approx(covariance / math.sqrt(variance1 * variance2), rel=1e-9)


def test_small_table_equals_values_by_hand() -> None:
    # x = 1 2 3 4 -, y = 2 1 4 3 9: r over the first four: Σdxdy = 3, Σdx² = Σdy² = 5.
    # z misses the first two: 3 4 against 6 8.
    returns = np.array([[1.0, 2, 3, 4, np.nan], [2, 1, 4, 3, 9], [np.nan, np.nan, 6, 8, 1]])
    for method in (pearson, spearman):
        matrix = method(returns, 2).matrix
        assert matrix[0, 1] == pytest.approx(0.6, rel=1e-14)
        assert matrix[0, 2] == pytest.approx(1.0, rel=1e-14)
    assert spearman(returns, 2).matrix[1, 2] == pytest.approx(-1.0)  # 4 3 9 against 6 8 1


def test_ties_have_their_mean_rank() -> None:
    returns = np.array([[1.0, 1, 2, 2, 2, 3, np.nan], [5.0, 1, 5, 5, 2, 9, 1], [0.0, 0, 0, np.nan, 1, 1, 1]])
    assert_close(spearman(returns, 2).matrix, oracle("spearman", returns, 2), 1e-14)


# --- tiles and precision


@pytest.mark.parametrize("method", METHODS)
def test_matrix_of_many_tiles_equals_one_tile(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = METHODS[method](recorded(), 200)
    for name, size in (("_TILE", 3), ("_STRIP", 2)):
        monkeypatch.setattr(correlation, name, size)
    monkeypatch.setattr(ranks, "_TILE", 4)
    monkeypatch.setattr(pairs, "_MIRRORED", 2)
    monkeypatch.setattr(pairs, "_GATHERED", 1000)
    tiled = METHODS[method](recorded(), 200)
    assert_close(tiled.matrix, whole.matrix, 1e-14)
    np.testing.assert_array_equal(tiled.counts, whole.counts)
    assert_sound(tiled)


def test_instruments_above_the_tile_size_have_correlations() -> None:
    returns = np.random.default_rng(5).standard_normal((700, 60))
    returns[np.random.default_rng(6).random(returns.shape) < 0.1] = np.nan
    result = pearson(returns, 40)
    assert_close(result.matrix, oracle("pearson", returns, 40))
    assert_sound(result)


@pytest.mark.parametrize("periods", [6, 40, 256, 1500])
@pytest.mark.parametrize("missing", [0.0, 0.02, 0.1, 0.6])
def test_precision_holds_for_heavy_tails_short_series_and_many_holes(periods: int, missing: float, size: str) -> None:
    generator = np.random.default_rng([periods, int(missing * 100)])
    returns = (generator.standard_t(2.1, (60, periods)) + generator.standard_normal((60, 1))) * 10.0 ** generator.integers(-8, 4, (60, 1))
    returns[generator.random(returns.shape) < missing] = np.nan
    assert_close(pearson(returns, 3).matrix, oracle("pearson", returns, 3), 1e-9 if size == "large" else 1e-12)
    assert_close(spearman(returns, 3).matrix, oracle("spearman", returns, 3), 1e-13)


@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e9, 1e15])
@pytest.mark.usefixtures("size")
def test_outlier_outside_a_pair_keeps_its_precision(outlier: float) -> None:
    generator = np.random.default_rng(11)
    returns = generator.standard_normal((6, 400))
    returns[0, 7] = returns[1, 9] = outlier
    returns[2:4, 7] = returns[3:5, 9] = np.nan
    result = pearson(returns)
    assert_close(result.matrix, oracle("pearson", returns, 30))
    assert_sound(result)


@pytest.mark.parametrize("offset", [1.0, 1e5, 1e10])
@pytest.mark.usefixtures("size")
def test_mean_far_above_the_spread_loses_only_necessary_precision(offset: float) -> None:
    generator = np.random.default_rng(13)
    returns = np.round(generator.standard_normal((6, 400)) * 2**10) / 2**10  # so that the offset causes no rounding
    returns[generator.random(returns.shape) < 0.05] = np.nan
    assert_close(pearson(returns + offset).matrix, pearson(returns).matrix)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("method", METHODS)
def test_constant_returns_have_no_correlation(method: str) -> None:
    returns = recorded()[:5].copy()
    returns[0] = 0.0
    returns[1, :] = np.where(np.arange(720) < 300, returns[1], 0.0)  # flat in the hours of the last instrument
    result = METHODS[method](returns, 30)
    assert np.isnan(result.matrix[0]).all()
    assert np.isnan(result.matrix[1, 4])
    assert not np.isnan(result.matrix[1, 2:4]).any()
    assert_close(result.matrix, oracle(method, returns, 30))


@pytest.mark.parametrize("value", [0.1, 1e-7, 3e5])
@pytest.mark.usefixtures("size")
def test_constant_other_than_zero_has_no_correlation(value: float) -> None:
    returns = recorded()[:3].copy()
    returns[1] = np.where(np.isnan(returns[1]), np.nan, value)
    for method in (pearson, spearman):
        result = method(returns)
        assert np.isnan(result.matrix[1]).all()
        assert not np.isnan(result.matrix[0, 2])


@pytest.mark.parametrize("method", METHODS)
def test_empty_returns_give_an_empty_matrix(method: str) -> None:
    assert METHODS[method](np.empty((0, 10)), 2).matrix.shape == (0, 0)
    empty = METHODS[method](np.empty((3, 0)), 2)
    assert np.isnan(empty.matrix).all()
    assert (empty.counts == 0).all()
    void = METHODS[method](np.full((3, 50), np.nan), 2)
    assert np.isnan(void.matrix).all()
    assert METHODS[method](np.array([[1.0, -2.0, 3.0, 0.5]]), 2).matrix.tolist() == [[1.0]]


@pytest.mark.parametrize("method", METHODS)
def test_infinite_returns_count_as_missing(method: str) -> None:
    returns = recorded().copy()
    returns[:, 5] = np.inf
    without = recorded().copy()
    without[:, 5] = np.nan
    np.testing.assert_array_equal(METHODS[method](returns, 30).matrix, METHODS[method](without, 30).matrix)


# --- any returns


@st.composite
def some_returns(draw: st.DrawFn) -> Floats:
    """Five instruments, 12 periods; with holes, ties and constants."""
    values = draw(
        arrays.arrays(np.float64, (5, 12), elements=st.integers(-5, 5).map(float) | st.floats(-1e3, 1e3).map(lambda x: round(x, 6)))
    )
    holes = draw(arrays.arrays(np.bool_, (5, 12), elements=st.sampled_from([False] * 4 + [True])))
    return np.where(holes, np.nan, values)


@settings(max_examples=50, deadline=None)
@given(some_returns())
def test_any_returns_equal_pandas(returns: Floats) -> None:
    for method in METHODS:
        result = METHODS[method](returns, 3)
        assert_close(result.matrix, oracle(method, returns, 3))
        assert_sound(result)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "LARGE", 0)
        assert_close(pearson(returns, 3).matrix, oracle("pearson", returns, 3))


@settings(max_examples=50, deadline=None)
@given(some_returns(), st.permutations(range(5)))
def test_order_of_instruments_changes_no_value(returns: Floats, order: list[int]) -> None:
    for method in METHODS.values():
        assert_close(method(returns[order], 3).matrix, method(returns, 3).matrix[np.ix_(order, order)], 1e-12)


@settings(max_examples=50, deadline=None)
@given(some_returns(), arrays.arrays(np.int64, (5, 1), elements=st.integers(-300, 300)), arrays.arrays(np.bool_, (5, 1)))
def test_unit_changes_no_value_and_a_sign_inverts_it(returns: Floats, powers: Floats, turned: np.ndarray) -> None:
    signs = np.where(turned, -1.0, 1.0)
    for method in METHODS.values():
        plain = method(returns, 3).matrix
        assert_close(method(signs * returns * 2.0**powers, 3).matrix, signs * plain * signs.T, 1e-12)


@settings(max_examples=50, deadline=None)
@given(some_returns(), st.integers(0, 2**12 - 1))
def test_instrument_with_holes_changes_no_other_pair(returns: Floats, holes: int) -> None:
    more = np.where([holes >> period & 1 for period in range(12)], np.nan, np.arange(12.0) ** 2)
    for method in METHODS.values():
        assert_close(method(np.vstack([returns, more]), 3).matrix[:5, :5], method(returns, 3).matrix, 1e-12)


# --- matrices that must invert


@pytest.mark.parametrize("periods", [8, 60, 720])
def test_shrinkage_equals_scikit_learn(periods: int) -> None:
    from sklearn.covariance import ledoit_wolf as oracle

    returns = complete()[:, :periods]
    expected, shrinkage = oracle(returns.T)
    ours = ledoit_wolf(returns)
    assert ours.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    np.testing.assert_allclose(ours.matrix, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    assert np.linalg.eigvalsh(ours.matrix)[0] > 0


def test_shrunk_correlation_uses_standardised_returns() -> None:
    from sklearn.covariance import ledoit_wolf as oracle

    returns = np.vstack([recorded(), np.full(720, np.nan), np.zeros(720)])
    returns[2:5] = np.nan  # those with most holes
    result = shrunk_correlation(returns)
    kept = [0, 1, 5, 6, 7, 8, 9]
    rows = returns[kept][:, ~np.isnan(returns[kept]).any(axis=0)].T
    expected, shrinkage = oracle((rows - rows.mean(axis=0)) / rows.std(axis=0))
    assert result.observations == len(rows)
    assert result.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    np.testing.assert_allclose(result.matrix[np.ix_(kept, kept)], expected, rtol=1e-9)
    assert np.isnan(result.matrix[[2, 3, 4, 10, 11]]).all()
    assert (np.diagonal(result.matrix)[kept] == 1.0).all()
    assert np.linalg.cond(result.matrix[np.ix_(kept, kept)]) < 1e4


def test_shrunk_correlation_of_few_returns_is_not_available() -> None:
    for returns in (np.full((2, 50), np.nan), np.zeros((2, 50)), complete()[:, :20], np.empty((0, 50))):
        result = shrunk_correlation(returns, 30)
        assert np.isnan(result.matrix).all()
        assert math.isnan(result.shrinkage)


def assert_nearest(matrix: Floats, nearest: Floats, tolerance: float) -> None:
    """Check the conditions of optimality.

    nearest - matrix + a diagonal matrix is positive semidefinite and orthogonal to nearest.
    """
    assert np.linalg.eigvalsh(nearest)[0] >= -1e-12
    assert (np.diagonal(nearest) == 1.0).all()
    pull = nearest - matrix
    np.fill_diagonal(pull, 0.0)
    np.fill_diagonal(pull, -(pull * nearest).sum(axis=1))
    assert np.linalg.eigvalsh(pull)[0] >= -tolerance
    assert np.abs(pull @ nearest).max() <= tolerance


def test_nearest_correlation_equals_the_example_of_higham() -> None:
    matrix = np.array([[2.0, -1, 0, 0], [-1, 2, -1, 0], [0, -1, 2, -1], [0, 0, -1, 2]])
    expected = np.array(
        [[1, -0.8084, 0.1916, 0.1068], [-0.8084, 1, -0.6562, 0.1916], [0.1916, -0.6562, 1, -0.8084], [0.1068, 0.1916, -0.8084, 1]]
    )
    nearest = nearest_correlation(matrix)
    np.testing.assert_allclose(nearest, expected, atol=5e-5)
    assert_nearest(matrix, nearest, 1e-7)


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.IterationLimitWarning")
def test_nearest_correlation_of_contradictory_pairs_is_sound() -> None:
    from statsmodels.stats.correlation_tools import corr_nearest

    generator = np.random.default_rng(2)
    returns = generator.standard_normal((30, 2)) @ generator.standard_normal((2, 60)) + 0.1 * generator.standard_normal((30, 60))
    returns[generator.random(returns.shape) < 0.5] = np.nan
    matrix = pearson(returns, 5).matrix
    assert np.linalg.eigvalsh(matrix)[0] < -0.05
    nearest = nearest_correlation(matrix)
    np.testing.assert_array_equal(nearest, nearest.T)
    assert_nearest(matrix, nearest, 1e-6)
    theirs = corr_nearest(matrix, threshold=1e-15, n_fact=50)
    assert np.linalg.norm(nearest - matrix) <= np.linalg.norm(theirs - matrix) + 1e-8


def test_sound_matrix_is_its_own_nearest_and_few_steps_are_sound() -> None:
    sound = pearson(complete()).matrix
    np.testing.assert_array_equal(nearest_correlation(sound), sound)
    generator = np.random.default_rng(4)
    wild = np.clip(generator.standard_normal((20, 20)), -1, 1)
    wild = (wild + wild.T) / 2
    for steps, least in ((0, 0.0), (1, 0.0), (3, 0.0), (200, 1e-4)):
        nearest = nearest_correlation(wild, steps, least=least)
        assert np.linalg.eigvalsh(nearest)[0] >= (least * 0.5 if least else -1e-13)
        assert (np.diagonal(nearest) == 1.0).all()
        assert np.abs(nearest).max() <= 1.0


def test_instrument_without_all_correlations_is_omitted() -> None:
    matrix = pearson(complete()).matrix.copy()
    for one, two in ((1, 4), (1, 6), (2, 8)):
        matrix[one, two] = matrix[two, one] = np.nan
    assert [index for index, kept in enumerate(complete_part(matrix)) if not kept] == [1, 8]
    nearest = nearest_correlation(matrix)
    assert np.isnan(nearest[[1, 8]]).all()
    kept = [0, 2, 3, 4, 5, 6, 7, 9]
    np.testing.assert_array_equal(nearest[np.ix_(kept, kept)], matrix[np.ix_(kept, kept)])
    assert np.isnan(nearest_correlation(np.full((3, 3), np.nan))).all()


def test_asymmetric_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        nearest_correlation(np.array([[1.0, 0.5], [0.4, 1.0]]))
    with pytest.raises(ValueError, match="least"):
        nearest_correlation(np.eye(2), least=1.0)


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.float64, (4, 4), elements=st.floats(-1, 1)))
def test_no_sound_matrix_is_nearer_than_the_nearest(values: Floats) -> None:
    matrix = (values + values.T) / 2
    np.fill_diagonal(matrix, 1.0)
    nearest = nearest_correlation(matrix)
    assert np.linalg.eigvalsh(nearest)[0] >= -1e-12
    distance = float(np.linalg.norm(nearest - matrix))
    for one, two in combinations(range(4), 2):  # a small step towards some other sound matrix is never nearer
        for sign in (-1.0, 1.0):
            other = np.eye(4)
            other[one, two] = other[two, one] = sign
            assert float(np.linalg.norm(0.999 * nearest + 0.001 * other - matrix)) >= distance - 1e-6
