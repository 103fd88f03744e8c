"""Every published baseline against a loop written from its formula, and what must hold of all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.stats import gaussian_kde, multivariate_normal
from skimage.metrics import structural_similarity
from sklearn.decomposition import PCA

from attack.baselines import BASELINES, Inputs, Turn, clusters, decisions, inputs, score_all, score_inputs
from attack.baselines.density import log_density
from attack.evidence.embeddings.builtin import embed
from attack.evidence.embeddings.ssim import ssim_all
from attack.metrics import auc

SPACES = ("raw", "pixels", "highpass")
SIMILARITIES = ("ssim", "pixels", "highpass")
DECIDERS = ("threshold_max", "threshold_3sd", "retrieval", "ranking", "clustering", "ensemble")


def noise(rng, count, side=16):
    smooth = gaussian_filter(rng.normal(size=(count, side, side)), (0, 1.5, 1.5))
    return np.clip(128 + 50 * smooth / smooth.std(), 0, 255).astype(np.float32)


@pytest.fixture(scope="module")
def images():
    """Candidates, of which the pile holds noisy copies of the first five; pile; reference."""
    rng = np.random.default_rng(0)
    candidates, pile, reference = noise(rng, 10), noise(rng, 60), noise(rng, 8)
    pile[7:22] = np.clip(np.repeat(candidates[:5], 3, axis=0) + rng.normal(0, 12, (15, 16, 16)), 0, 255)
    return candidates, pile, reference


@pytest.fixture(scope="module")
def scores(images):
    return score_all(*images)


def vector(image, space):
    return image.ravel().astype(np.float64) / 255 / 16 if space == "raw" else embed(space, image[None])[0]


def distance(a, b, space):
    return np.linalg.norm(vector(a, space) - vector(b, space))


def likeness(a, b, space):
    if space == "ssim":
        return structural_similarity(a.astype(np.float64), b.astype(np.float64), data_range=255)
    return 1 - distance(a, b, space) ** 2


def matrix(measure, rows, columns, space):
    return np.array([[measure(a, b, space) for b in columns] for a in rows])


@pytest.mark.parametrize("space", SPACES)
def test_distances_against_a_loop(images, scores, space):
    candidates, pile, reference = images
    to_pile, to_reference = (matrix(distance, candidates, others, space) for others in (pile, reference))
    plain, calibrated = (
        ("gan_leaks", "gan_leaks_calibrated") if space == "raw" else (f"nearest.{space}", f"calibrated.{space}")
    )
    near = np.sort(to_pile, axis=1)[:, :50]
    np.testing.assert_allclose(scores[plain], -near[:, 0], atol=1e-5)
    np.testing.assert_allclose(scores[calibrated], to_reference.min(1) - near[:, 0], atol=1e-5)
    np.testing.assert_allclose(scores[f"ratio.{space}"], -np.log(near[:, 0] / near[:, 1:].mean(1)), atol=1e-4)
    radius = np.median([distance_row.min() for distance_row in matrix(distance, reference, pile, space)])
    counts = [sum(d <= radius for d in row) / len(pile) for row in to_pile]
    np.testing.assert_allclose(scores[f"monte_carlo.{space}"], counts, atol=1e-12)
    if space == "raw":
        weighted = [sum(-np.log(d) for d in row if d <= radius) / len(pile) for row in to_pile]
        np.testing.assert_allclose(scores["monte_carlo_log.raw"], weighted, atol=1e-5)


def test_without_a_reference_the_radius_is_the_piles_own(images):
    candidates, pile, _ = images
    among = matrix(distance, pile, pile, "raw")
    np.fill_diagonal(among, np.inf)
    wanted = (matrix(distance, candidates, pile, "raw") <= np.median(among.min(1))).mean(1)
    np.testing.assert_allclose(score_all(candidates, pile, ssim=False)["monte_carlo.raw"], wanted, atol=1e-12)


def test_density_against_scipy():
    rng = np.random.default_rng(1)
    data, points = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3)), rng.normal(size=(7, 3))
    # a sum of normal densities, as the docstring says
    covariance = (39 * np.cov(data.T) + 3 * np.eye(3)) / (39 + 3) * 40 ** (-2 / 7)
    summed = [np.log(np.mean([multivariate_normal(row, covariance).pdf(x) for row in data])) for x in points]
    np.testing.assert_allclose(log_density(points, data), summed, rtol=1e-9)
    # scipy's own, where drawing the covariance towards the identity changes nothing ...
    white = (data - data.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(data.T))).T
    np.testing.assert_allclose(log_density(points, white), gaussian_kde(white.T).logpdf(points.T), rtol=1e-9)
    # ... and hardly does, where there is much data
    many = rng.normal(size=(5000, 2)) * (0.5, 3)
    np.testing.assert_allclose(
        log_density(points[:, :2], many), gaussian_kde(many.T).logpdf(points[:, :2].T), atol=0.01
    )


def test_far_away_the_density_is_small_not_zero():
    assert -np.inf < log_density(np.full((1, 2), 1e4), np.zeros((5, 2)))[0] < -1e6


def test_components_are_whitened_principal_components(images):
    candidates, pile, reference = images
    fitted = embed("pixels", np.concatenate([pile, reference])).astype(np.float64)
    pca = PCA(16, whiten=True, svd_solver="full").fit(fitted)
    wanted = pca.transform(embed("pixels", candidates)) * np.sqrt(len(fitted) / (len(fitted) - 1))
    found = Inputs(*images).components("candidates")[:, ::-1]  # eigh's order is rising
    np.testing.assert_allclose(np.abs(found), np.abs(wanted), atol=1e-3)


def test_cmla_is_the_distance_to_the_middle_of_a_dense_region():
    """Two tight clouds among scattered images: their medoids are found, and nothing else counts."""
    rng = np.random.default_rng(2)
    clouds = [rng.normal(centre, 0.05, (12, 4)) for centre in (-3.0, 4.0)]
    points = np.concatenate([*clouds, rng.uniform(-30, 30, (9, 4))]).astype(np.float32)
    found = clusters.medoids(points)
    wanted = [cloud[np.linalg.norm(cloud[:, None] - cloud[None], axis=2).sum(1).argmin()] for cloud in clouds]
    np.testing.assert_allclose(sorted(found.tolist()), sorted(np.array(wanted).tolist()), atol=1e-5)


def test_cmla_of_a_pile_without_a_dense_region_counts_every_image(images):
    candidates, pile, reference = images
    for few in (pile[:1], pile[:4], np.zeros((20, 16, 16), np.float32)):
        seen = Inputs(candidates, few, reference)
        near = np.linalg.norm(seen.components("candidates")[:, None] - seen.components("pile")[None], axis=2).min(1)
        np.testing.assert_allclose(score_inputs(seen, names=["cmla"])["cmla"], -near, atol=1e-3)


def test_cmla_needs_no_reference_and_finds_what_the_pile_repeats(images):
    candidates, pile, _ = images
    copies = np.repeat(candidates[:5], 8, axis=0) + np.random.default_rng(3).normal(0, 5, (40, 16, 16))
    pile = np.concatenate([pile, copies]).clip(0, 255).astype(np.float32)
    found = score_all(candidates, pile, names=["cmla"])["cmla"]
    assert found[:5].min() > found[5:].max()
    seen = Inputs(candidates, pile)
    middles = clusters.medoids(seen.components("pile"))
    assert len(middles) < len(pile)
    wanted = -np.linalg.norm(seen.components("candidates")[:, None] - middles[None], axis=2).min(1)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_domias_is_the_ratio_of_densities(images, scores):
    names = ("candidates", "pile", "reference")
    x, pile, reference = (Inputs(*images).components(name).astype(np.float64) for name in names)
    wanted = log_density(x, pile) - log_density(x, reference)
    np.testing.assert_allclose(scores["domias"], wanted, rtol=1e-9)


def test_logan_tells_the_pile_from_the_reference():
    rng = np.random.default_rng(2)
    pattern = noise(rng, 1)
    pile, reference = noise(rng, 200) / 2 + pattern / 2, noise(rng, 40)
    candidates = np.concatenate([noise(rng, 20) / 2 + pattern / 2, noise(rng, 20)])
    found = score_all(candidates, pile, reference, ssim=False)
    for name in ("logan_d1", "logan_d1_linear"):
        assert auc(found[name], np.repeat([1, 0], 20)) > 0.95
        assert np.median(found[name][:20]) > 0 > np.median(found[name][20:])


def naive_decisions(space, candidates, pile, real, own_place):
    """What VCMI's deciders say of each candidate among the real images; own_place: its index there, None outside."""
    to_pile, real_to_pile = (matrix(likeness, part, pile, space) for part in (candidates, real))
    square = matrix(likeness, real, real, space)
    off = square[~np.eye(len(real), dtype=bool)]
    generated = matrix(likeness, pile, pile, space)
    joint = np.concatenate([off, *[real_to_pile.ravel()] * 2, generated[~np.eye(len(pile), dtype=bool)]])
    result = {name: [] for name in DECIDERS}
    for i, x in enumerate(candidates):
        rivals = [j for j in range(len(real)) if j != own_place(i)]
        finds = [g for g in range(len(pile)) if all(to_pile[i, g] > real_to_pile[j, g] for j in rivals)]
        ranks = [1 + sum(real_to_pile[j, g] > to_pile[i, g] for j in rivals) for g in range(len(pile))]
        largest = max([*to_pile[i], *(likeness(x, real[j], space) for j in rivals)])
        result["threshold_max"].append(max(to_pile[i]) > max(off))
        result["threshold_3sd"].append(max(to_pile[i]) > np.mean(off) + 3 * np.std(off))
        result["retrieval"].append(len(finds) > 0)
        result["ranking"].append(np.mean(ranks) < (len(rivals) + 2) / 2)
        result["clustering"].append(largest > np.mean(joint) + 3 * np.std(joint))
        base = result["threshold_max"][-1] or result["ranking"][-1]
        result["ensemble"].append(base and result["retrieval"][-1])
    return result


@pytest.mark.parametrize("space", SIMILARITIES)
@pytest.mark.parametrize("family", ["vcmi", "vcmi_set"])
def test_deciders_against_loops(images, scores, family, space):
    candidates, pile, reference = images
    real, own_place = (reference, lambda i: None) if family == "vcmi" else (candidates, lambda i: i)
    wanted = naive_decisions(space, candidates, pile, real, own_place)
    found = decisions(scores)
    for name in DECIDERS:
        np.testing.assert_array_equal(found[f"{family}.{name}.{space}"], wanted[name], err_msg=name)


def test_scores_of_deciders_against_loops(images, scores):
    candidates, pile, reference = images
    own, others = (matrix(likeness, part, pile, "highpass") for part in (candidates, reference))
    votes = [sum(row[g] > others[:, g].max() for g in range(len(pile))) for row in own]
    np.testing.assert_allclose(scores["vcmi.retrieval.highpass"], np.log(1 + np.array(votes)) - np.log(1.5))
    ahead = [np.mean([rival[g] > row[g] for rival in others for g in range(len(pile))]) for row in own]
    np.testing.assert_allclose(scores["vcmi.ranking.highpass"], 0.5 - np.array(ahead), atol=1e-12)


@pytest.mark.parametrize("space", SIMILARITIES)
def test_thresholds_of_deciders_against_loops(images, scores, space):
    candidates, pile, reference = images
    own, others = (matrix(likeness, part, pile, space) for part in (candidates, reference))
    square, generated = (matrix(likeness, part, part, space) for part in (reference, pile))
    off = [square[r, q] for r in range(len(reference)) for q in range(len(reference)) if r != q]
    made = [generated[g, h] for g in range(len(pile)) for h in range(len(pile)) if g != h]
    best = np.array([max(row) for row in own])
    beside = np.array([max(row) for row in matrix(likeness, candidates, reference, space)])
    joint = np.array([*off, *others.ravel(), *others.ravel(), *made])
    wanted = {
        "threshold_max": best - max(off),
        "threshold_3sd": best - np.mean(off) - 3 * np.std(off),
        "clustering": np.maximum(best, beside) - joint.mean() - 3 * joint.std(),
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(scores[f"vcmi.{name}.{space}"], values, atol=1e-5, err_msg=name)
    parts = [scores[f"vcmi.{name}.{space}"] for name in ("ranking", "threshold_max", "retrieval")]
    either = [min(found, max(rank, most)) for rank, most, found in zip(*parts, strict=True)]
    np.testing.assert_array_equal(scores[f"vcmi.ensemble.{space}"], either)


def test_monte_carlo_in_components_against_a_loop(images, scores):
    x, pile, reference = Inputs(*images).points()

    def gaps(rows):
        return np.array([[np.linalg.norm(row - g) for g in pile] for row in rows])

    radius = np.median([row.min() for row in gaps(reference)])
    wanted = [np.mean([d <= radius for d in row]) for row in gaps(x)]
    np.testing.assert_allclose(scores["monte_carlo.pca"], wanted, atol=1e-12)


def test_the_linear_discriminator_against_a_plain_minimiser(images, scores):
    x, pile, reference = Inputs(*images).points()
    features, sign = np.vstack([pile, reference]), np.repeat([1, -1], [len(pile), len(reference)])
    weight = np.where(sign > 0, len(sign) / 2 / len(pile), len(sign) / 2 / len(reference))

    def loss(theta):
        return (weight * np.logaddexp(0, -sign * (features @ theta[1:] + theta[0]))).sum() + theta[1:] @ theta[1:] / 2

    found = minimize(loss, np.zeros(1 + features.shape[1]), options={"gtol": 1e-7}).x
    np.testing.assert_allclose(scores["logan_d1_linear"], x @ found[1:] + found[0], rtol=0.01, atol=0.02)


def test_some_baselines_alone_score_as_among_all(images, scores):
    names = ("domias", "vcmi.ranking.pixels", "ratio.raw")
    alone = score_all(*images, names=names)
    assert sorted(alone) == sorted(names)
    for name in names:
        np.testing.assert_array_equal(alone[name], scores[name])


def test_planted_members_are_found(scores):
    labels = np.repeat([1, 0], 5)
    strong = ["gan_leaks", "gan_leaks_calibrated", *(f"{n}.{s}" for n in ("nearest", "ratio") for s in SPACES[1:])]
    strong += [f"vcmi.{name}.{space}" for name in ("threshold_max", "threshold_3sd") for space in SIMILARITIES]
    for name in strong:
        assert auc(scores[name], labels) == 1, name
    for name in ("monte_carlo.pixels", "monte_carlo_log.raw", "monte_carlo.pca", "domias", "vcmi.ensemble.ssim"):
        assert auc(scores[name], labels) > 0.6, name


def test_a_score_does_not_depend_on_who_else_is_scored(images, scores):
    candidates, pile, reference = images
    order = np.random.default_rng(3).permutation(len(candidates))
    for chosen in (order, np.array([4]), np.array([2, 2, 9])):
        found = score_all(candidates[chosen], pile, reference)
        for name, baseline in BASELINES.items():
            if not baseline.set_dependent:
                np.testing.assert_array_equal(found[name], scores[name][chosen], err_msg=name)
            elif len(chosen) == len(order):
                np.testing.assert_allclose(found[name], scores[name][chosen], atol=1e-6, err_msg=name)
    alone = score_all(candidates[:1], pile, reference)
    assert any(alone[name][0] != scores[name][0] for name in BASELINES if BASELINES[name].set_dependent)


def test_same_inputs_same_scores(images, scores):
    for name, again in score_all(*images).items():
        np.testing.assert_array_equal(again, scores[name], err_msg=name)


def broken():
    rng = np.random.default_rng(4)
    x, pile, reference = noise(rng, 3), noise(rng, 12), noise(rng, 4)
    black, none = np.zeros_like(x), None
    return {
        "constant candidate": (np.concatenate([x, black[:1]]), pile, reference),
        "constant candidates": (black + 77, pile, reference),
        "identical candidates": (np.repeat(x[:1], 5, axis=0), pile, reference),
        "one candidate": (x[:1], pile, reference),
        "pile of one": (x, pile[:1], reference),
        "pile of one, no reference": (x, pile[:1], none),
        "pile of two": (x, pile[:2], none),
        "pile of one repeated image": (x, np.repeat(pile[:1], 60, axis=0), reference),
        "pile of the candidate": (x, np.repeat(x[:1], 60, axis=0), none),
        "black pile": (x, np.zeros_like(pile), reference),
        "reference of one": (x, pile, reference[:1]),
        "one of everything": (x[:1], pile[:1], reference[:1]),
        "all the same": (x[:1], x[:1], x[:1]),
        "all black": (black, black, black),
        "whole numbers": tuple(np.rint(part).astype(np.uint8) for part in (x, pile, reference)),
        "smallest": (x[:, :7, :7], pile[:, :7, :7], reference[:, :7, :7]),
    }


@pytest.mark.parametrize("case", broken())
def test_scores_are_finite(case):
    candidates, pile, reference = broken()[case]
    found = score_all(candidates, pile, reference)
    wanted = [name for name, baseline in BASELINES.items() if reference is not None or not baseline.needs_reference]
    assert list(found) == wanted
    for name, values in found.items():
        assert values.shape == (len(candidates),), name
        assert values.dtype == np.float64, name
        assert np.isfinite(values).all(), name


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_scores_are_finite_for_any_images(data):
    height, width = data.draw(st.sampled_from([(7, 7), (8, 11)]))
    sets = [
        data.draw(
            arrays(np.uint8, (data.draw(st.integers(1, 4)), height, width), elements=st.sampled_from([0, 3, 255]))
        )
        for _ in range(3)
    ]
    for name, values in score_all(*sets).items():
        assert np.isfinite(values).all(), name


def test_a_large_pile_has_ssim_with_the_nearest_only(images, scores, monkeypatch):
    candidates, pile, _ = images
    whole = Inputs(*images).similarity("ssim", "candidates", "pile")
    monkeypatch.setattr(inputs, "ALL_PAIRS", pile.size - 1)
    monkeypatch.setattr(inputs, "SSIM_NEAREST", 4)
    part = Inputs(*images).similarity("ssim", "candidates", "pile")
    order = np.argsort(matrix(distance, candidates, pile, "pixels"), axis=1)
    for i in range(len(candidates)):
        np.testing.assert_allclose(part[i, order[i, :4]], whole[i, order[i, :4]], atol=1e-6)
        assert (part[i, order[i, 4:]] == -1).all()
    found = score_all(*images)["vcmi.threshold_max.ssim"]
    np.testing.assert_allclose(found[:5], scores["vcmi.threshold_max.ssim"][:5], atol=1e-6)


def test_the_pile_in_parts(images, scores, monkeypatch):
    monkeypatch.setattr(inputs, "_CHUNK", 16 * 16 * 7)
    for name, values in score_all(*images).items():
        np.testing.assert_allclose(values, scores[name], atol=1e-3, err_msg=name)


def test_the_registry(images):
    assert sum(baseline.decides for baseline in BASELINES.values()) == 2 * 6 * 3
    assert "gan_leaks" not in decisions({"gan_leaks": np.zeros(2)})
    assert all(baseline.paper for baseline in BASELINES.values())
    without = score_all(*images[:2], ssim=False)
    assert not [name for name in without if BASELINES[name].needs_reference or BASELINES[name].ssim]
    for name in (name for name, baseline in BASELINES.items() if baseline.needs_reference):
        with pytest.raises(ValueError, match="this baseline needs images: reference"):
            BASELINES[name].score(Inputs(*images[:2]))
    assert {"gan_leaks", "monte_carlo.raw", "ratio.highpass", "vcmi_set.retrieval.pixels"} < set(without)


def test_what_is_refused():
    rng = np.random.default_rng(5)
    small, large = noise(rng, 2, 6), noise(rng, 2, 8)
    for wrong in ((small, large), (large, large, small), (large[0], large), (large, large[0])):
        with pytest.raises(ValueError, match="images must be of one size"):
            Inputs(*wrong)
    for empty in ((large, large[:0]), (large[:0], large)):
        with pytest.raises(ValueError, match="an empty pile, or no candidates"):
            Inputs(*empty)
    with pytest.raises(ValueError, match="at least 7 x 7"):
        score_all(small, small)
    assert score_all(small, small, ssim=False)


@pytest.mark.parametrize("known", [True, False])
def test_turns_score_as_attacks_of_their_own_and_measure_once(images, monkeypatch, known):
    candidates, pile, reference = images
    real = np.concatenate([candidates, reference])
    fold = np.arange(len(real)) % 3
    calls = []

    def counted(a, b):
        calls.append((len(a), len(b)))
        return ssim_all(a, b)

    monkeypatch.setattr(inputs, "ssim_all", counted)
    whole = Inputs(real, pile)
    for f in range(3):
        others = (fold != f) & known
        found = score_inputs(Turn(whole, fold == f, others))
        own = score_all(real[fold == f], pile, real[others])
        assert set(found) == set(own) == {n for n, b in BASELINES.items() if known or not b.needs_reference}
        for name, values in own.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)
    alike = [shape for shape in calls if shape[0] == len(real)]
    assert len(alike) == 3  # with the pile, with each other and with the sample


def test_a_turn_without_a_reference_has_no_distances_to_it(images):
    turn = Turn(Inputs(*images[:2]), np.arange(10) < 4, np.zeros(10, bool))
    for measured in (turn.distances, turn.similarity):
        with pytest.raises(ValueError, match="needs images: reference"):
            measured("ssim" if measured == turn.similarity else "raw", "candidates", "reference")
