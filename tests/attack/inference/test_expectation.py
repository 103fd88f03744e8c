"""What is expected of an image without membership: the regression against NumPy's least squares, and its promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_expectation import PRIOR_IMAGES, fitted, held_out, residuals
from test_calibration import make

from attack.inference import crossfit, estimate, expectation
from attack.inference.calibration import Relative
from attack.inference.crossfit import Options
from attack.metrics import ranking

seeds = st.integers(0, 2**20)


def made(seed, images=20, columns=2, steps=3, piles=()):
    """own [*piles, image, column], references [step, *piles, image, column] and known bool [image], some of each."""
    rng = np.random.default_rng(seed)
    shape = (*piles, images, columns)
    easy = rng.normal(size=shape)
    references = rng.uniform(0, 3, (steps, *(1 for _ in shape))) * easy + rng.normal(3, 1, (steps, *shape))
    own = rng.uniform(-1, 2) * easy + rng.normal(size=shape)
    known = rng.random(images) < 0.7
    known[:2] = True
    return own, references, known


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)


@settings(max_examples=60)
@given(seeds, st.integers(2, 40), st.integers(1, 3), st.integers(1, 6))
def test_the_fit_is_that_of_least_squares(seed, images, columns, steps):
    own, references, known = made(seed, images, columns, steps)
    found = expectation.fit(own, references, known)
    level, weight = fitted(own, references, known)
    assert found.level.shape == (1, columns)
    assert found.weight.shape == (steps, 1, columns)
    close(found.level[0], level)
    close(found.weight[:, 0], weight)
    close(expectation.residual(own, references, found), residuals(own, references, known))


def test_the_penalty_weighs_as_much_as_so_many_images():
    """With one step and as many images as the penalty counts for, the weight is half way from 1 to that of the images,
    and then the more images there are, the nearer."""
    assert expectation.PRIOR_WEIGHT == PRIOR_IMAGES
    for images in (2, 10, 90):
        x = np.resize([-1.0, 1.0], images)[:, None]
        found = expectation.fit(5 * x, x[None], np.ones(images, bool))
        assert found.weight.item() == pytest.approx((10 * 1 + images * 5) / (10 + images))


def test_slices_unlike_those_of_the_fit_do_not_lead_it_astray():
    """Late references lie near to slices with relatives among the shadows' members; the fit has seen none of those, and
    a pile that knows nobody shows nothing of it."""
    rng = np.random.default_rng(3)
    easy = rng.normal(size=400)
    late = easy + rng.normal(0, 0.3, 400)
    own, early = 0.5 * easy + rng.normal(0, 0.3, 400), easy + rng.normal(0, 0.1, 400)
    own[:300] -= 0.4 * (late - early)[:300]  # by chance, of the slices that are known
    related = np.arange(400) >= 300
    late[related] += 2
    references = np.stack([early, late])[..., None]
    found = expectation.fit(own[:, None], references, ~related)
    assert (found.weight >= 0).all()
    value = expectation.residual(own[:, None], references, found)[:, 0]
    assert value[related].mean() < value[~related].mean() + 0.1  # a free fit has .9 here


def test_the_weights_are_those_that_the_pile_bears_out():
    rng = np.random.default_rng(0)
    references = rng.normal(size=(3, 4000, 1))
    own = 0.2 * references[0] + 0.7 * references[2] + 5 + rng.normal(0, 0.1, (4000, 1))
    found = expectation.fit(own, references, np.ones(4000, bool))
    np.testing.assert_allclose(found.weight.ravel(), [0.2, 0, 0.7], atol=0.02)
    assert found.level.item() == pytest.approx(5, abs=0.02)


@settings(max_examples=30)
@given(seeds, st.integers(1, 5))
def test_each_pile_and_each_column_is_fitted_alone(seed, steps):
    own, references, known = made(seed, 12, 3, steps, piles=(2, 3))
    found = expectation.fit(own, references, known)
    value = expectation.residual(own, references, found)
    assert found.level.shape == (2, 3, 1, 3)
    assert found.weight.shape == (steps, 2, 3, 1, 3)
    for a in range(2):
        for b in range(3):
            close(value[a, b], residuals(own[a, b], references[:, a, b], known))


@settings(max_examples=60)
@given(seeds, st.floats(-50, 50), st.integers(-1, 2))
def test_a_constant_moves_the_level_alone(seed, constant, step):
    """Added to all images of the pile (step -1), or to all of the references of one step."""
    own, references, known = made(seed)
    before = expectation.fit(own, references, known)
    value = expectation.residual(own, references, before)
    moved, shown = own + constant * (step == -1), references.copy()
    if step >= 0:
        shown[step] += constant
    after = expectation.fit(moved, shown, known)
    close(after.weight, before.weight)
    share = 1 if step == -1 else -before.weight[step]
    close(after.level, before.level + share * constant)
    close(expectation.residual(moved, shown, after), value)


@settings(max_examples=60)
@given(seeds)
def test_an_image_that_is_not_known_is_in_no_fit(seed):
    own, references, known = made(seed, piles=(2,))
    before = expectation.fit(own, references, known)
    rng = np.random.default_rng(seed + 1)
    own[:, ~known] = rng.normal(0, 100, own[:, ~known].shape)
    references[:, :, ~known] = rng.normal(0, 100, references[:, :, ~known].shape)
    after = expectation.fit(own, references, known)
    np.testing.assert_array_equal(after.level, before.level)
    np.testing.assert_array_equal(after.weight, before.weight)
    own[:, known] += np.arange(known.sum())[:, None]
    assert (expectation.fit(own, references, known).level != before.level).all()


@settings(max_examples=60)
@given(seeds, st.integers(1, 3), st.integers(1, 7), st.data())
def test_a_residual_is_of_its_image_alone_to_the_last_bit(seed, columns, steps, data):
    own, references, known = made(seed, 20, columns, steps)
    found = expectation.fit(own, references, known)
    whole = expectation.residual(own, references, found)
    some = data.draw(st.lists(st.integers(0, 19), min_size=1, max_size=20, unique=True))
    part = expectation.residual(own[some], references[:, some], found)
    np.testing.assert_array_equal(part, whole[some])


@settings(max_examples=60)
@given(seeds, st.integers(-20, 20), st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
def test_references_that_are_the_same_for_all_images_keep_the_weight_of_before(seed, constant, flat):
    own, references, known = made(seed)
    references[flat] = constant
    found = expectation.fit(own, references, known)
    for step in flat:
        np.testing.assert_allclose(found.weight[step], float(step == 0), atol=1e-9)
    level, weight = fitted(own, references, known)
    close(found.level[0], level)
    close(found.weight[:, 0], weight)
    assert np.isfinite(expectation.residual(own, references, found)).all()


@settings(max_examples=30)
@given(seeds)
def test_a_single_known_image_and_a_flat_pile_are_finite(seed):
    own, references, _ = made(seed)
    one = np.arange(20) == 4
    found = expectation.fit(own, references, one)
    np.testing.assert_array_equal(found.weight[:, 0], [[1, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(found.level[0], own[4] - references[0, 4], atol=1e-12)
    for flat in (np.zeros_like(own), np.full_like(own, 9.0)):
        every = expectation.fit(flat, np.stack([flat] * 3), np.ones(20, bool))
        np.testing.assert_array_equal(expectation.residual(flat, np.stack([flat] * 3), every), 0)


@settings(max_examples=30)
@given(seeds, st.integers(1, 4))
def test_where_no_image_is_known_it_is_the_difference_to_the_earliest_step(seed, steps):
    own, references, _ = made(seed, 9, 2, steps, piles=(3,))
    found = expectation.fit(own, references, np.zeros(9, bool))
    assert (found.weight[0] == 1).all()
    assert (found.weight[1:] == 0).all()
    assert (found.level == 0).all()
    assert found.level.shape == (3, 1, 2)
    assert found.weight.shape == (steps, 3, 1, 2)
    np.testing.assert_array_equal(expectation.residual(own, references, found), own - references[0])


@settings(max_examples=60)
@given(seeds, st.floats(-50, 50))
def test_a_pile_that_shows_what_the_earliest_references_do_is_as_expected(seed, constant):
    _, references, known = made(seed)
    own = references[0] + constant
    found = expectation.fit(own, references, known)
    np.testing.assert_allclose(expectation.residual(own, references, found), 0, atol=1e-11)


@settings(max_examples=40)
@given(seeds, st.integers(1, 5), st.booleans())
def test_held_out_residuals_are_those_of_a_loop_over_folds(seed, folds, piles):
    own, references, _ = made(seed, 24, 2, 3, piles=(2,) if piles else ())
    rng = np.random.default_rng(seed)
    fold, left = rng.permutation(np.resize(np.arange(folds), 24)), rng.random(24) < 0.2
    found = Relative(own, references).held_out(fold, left)
    assert found.shape == own.shape
    for at in range(2) if piles else [...]:
        close(found[at], held_out(own[at], references[:, at] if piles else references, fold, left))


def test_an_image_changes_its_folds_held_out_residuals_by_one_level_for_all():
    own, references, _ = made(0, 24)
    fold, left = np.arange(24) % 3, np.arange(24) == 7
    before = Relative(own, references).held_out(fold, left)
    for image, others in ((4, fold != 1), (7, np.zeros(24, bool))):  # 7 is in no fit
        changed, shown = own.copy(), references.copy()
        changed[image] += 9
        shown[:, image] -= 3
        moved = Relative(changed, shown).held_out(fold, left) - before
        same = ~others & (np.arange(24) != image)
        close(moved[same], np.broadcast_to(moved[same][:1], moved[same].shape))
        assert (moved[others] != 0).all()
        assert (moved[same] != 0).all() if image == 4 else (moved[same] == 0).all()


def test_non_members_lie_no_lower_than_images_that_are_not_in_the_pool():
    """Half of the pool are members, which stand far out; both images of a patient, who is in one fold, may be none."""
    rng, gaps, before = np.random.default_rng(0), [], []
    for _ in range(200):
        x = rng.normal(size=(180, 1))
        member = np.arange(180) < 40
        own = x + 0.5 * rng.normal(size=(180, 1)) + 6.0 * member[:, None]
        pool = rng.permutation(80)
        own[:80], x[:80], member[:80] = own[pool], x[pool], member[pool]
        seen, nobody = Relative(own[:80], x[None, :80]), np.zeros(80, bool)
        patient = np.arange(80) // 2
        alone = ~member[:80] & ~member[:80][np.arange(80) ^ 1]
        new = Relative(own[80:], x[None, 80:]).residuals(seen.expected(nobody)).mean()
        fold = patient % 5
        gaps.append(new - seen.held_out(fold, nobody)[alone].mean())
        apart = np.concatenate([seen.outside(fold == f)[alone & (fold == f)] for f in range(5)])
        before.append(new - apart.mean())
    error = np.std(gaps, ddof=1) / np.sqrt(200)
    assert abs(np.mean(gaps)) < 3 * error
    assert np.mean(before) > 3 * error  # a level without the own fold


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_where_no_pile_knows_a_member_the_attack_finds_nothing(steps):
    """References are chosen by membership and no shadow is its own: that must not tell members from others."""
    options, of_z, of_logit = Options(8, 3, 1.0, 0), [], []
    for seed in range(50):
        data = make(seed, leak=0.0, steps=steps)
        held, member = crossfit.two_way(data, options, 0), data.shadow_signals.member
        of_z += [[estimate.mean_within(held.z[..., j], member) for j in range(held.z.shape[2])]]
        of_logit.append(estimate.mean_within(held.logit, member))
    for aucs in (of_logit, *np.transpose(of_z)):
        error = np.std(aucs, ddof=1) / np.sqrt(len(aucs))
        assert error < 0.013
        assert abs(np.mean(aucs) - 0.5) < 3 * error


def test_of_piles_that_show_their_members_it_finds_more_than_a_plain_difference():
    """References of late steps are full of noise, and a difference to them would add it."""
    rng, aucs = np.random.default_rng(0), []
    for _ in range(40):
        level = rng.normal(size=(80, 1))
        noise = np.array([0.3, 3.0])[:, None, None]
        references = level + noise * rng.normal(size=(2, 80, 1))
        label = rng.permutation(80) < 40
        own = level + 0.5 * rng.normal(size=(80, 1)) + label[:, None]
        found = Relative(own, references).held_out(np.arange(80) % 5, np.zeros(80, bool))
        scores = found, own, own - references[1], own - references.mean(0)
        aucs.append([ranking.auc(score[:, 0], label.astype(int)) for score in scores])
    here, plain, late, mean = np.mean(aucs, axis=0)
    assert here > max(plain, late, mean) + 0.03
    assert here > 0.85
