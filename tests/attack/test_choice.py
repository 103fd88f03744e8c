"""The choice of a combiner is nested, families are left out whole, and what memorises gains nothing."""

import dataclasses

import numpy as np
import pytest
from naive_expectation import means, residuals

from attack import calibration, choice, combiners, controls, crossfit, estimate, families
from attack.combiners import boosting
from attack.crossfit import Options, Recipe

AUTO = Options(8, 2, 0.1, 0, "auto")


@pytest.fixture(scope="module")
def null():
    return controls.evidence_of(0.0, 0, controls.Size(test=4)).data


@pytest.fixture(scope="module")
def leaky():
    return controls.evidence_of(0.3, 1, controls.Size(test=4)).data


@pytest.fixture(scope="module")
def two_families():
    data = controls.evidence_of(0.3, 2, controls.Size(shadows=16, dev=24, test=4)).data
    return dataclasses.replace(data, family=np.arange(16) // 8)


def garbled(data, shadows=(), images=()):
    """Other evidence of these shadows and images, and other answers: two shadows change places, those of an image turn
    round. Every image stays in half of the shadows."""
    rng = np.random.default_rng(5)
    bank, member = data.bank, data.bank.member.copy()
    shown = bank.values.copy(), bank.references.copy()
    if len(shadows):
        for values in shown:
            values[..., list(shadows), :, :] = rng.normal(size=values[..., list(shadows), :, :].shape)
        member[list(shadows)] = member[list(shadows)[::-1]]
    if len(images):
        for values in shown:
            values[..., images, :] = rng.normal(size=values[..., images, :].shape)
        member[:, images] = ~member[:, images]
    bank = dataclasses.replace(bank, values=shown[0], references=shown[1], member=member)
    return dataclasses.replace(data, bank=bank)


def spied(monkeypatch, data):
    """nested choices, with what each was made from."""
    seen, real = [], choice._best

    def best(by, scores, asked):
        seen.append((scores, asked.ids))
        return real(by, scores, asked)

    with monkeypatch.context() as patch:
        patch.setattr(choice, "_best", best)
        return choice.nested(data, AUTO), seen


def test_a_nested_choice_sees_neither_the_shadow_nor_the_fold(monkeypatch, leaky):
    fold = crossfit.folds(leaky.group, 2, 0)
    models, seen = spied(monkeypatch, leaky)
    assert [len(row) for row in models] == [2] * 8
    hidden = np.flatnonzero(fold[leaky.group] == 1)
    _, other = spied(monkeypatch, garbled(leaky, shadows=[4, 5]))
    _, unseen = spied(monkeypatch, garbled(leaky, images=hidden))
    assert len(seen) == 4 * 2
    for i, (scores, ids) in enumerate(seen):
        block, f = divmod(i, 2)
        same = [np.array_equal(scores[m], other[i][0][m]) for m in combiners.MODELS]
        assert all(same) if {4, 5} <= set(choice.blocks(leaky)[block]) else not all(same)
        if f == 1:
            for m in combiners.MODELS:
                np.testing.assert_array_equal(scores[m], unseen[i][0][m])
        assert ids == tuple(name for name, g in zip(leaky.ids, leaky.group, strict=True) if fold[g] != f)
        assert scores["mean"].shape == (6, len(ids))


def test_the_simpler_model_stays_unless_the_gain_is_above_its_error():
    data = controls.evidence_of(0.0, 3, controls.Size(dev=12, test=4)).data
    member = data.bank.member.astype(float)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=member.shape)
    same = choice._best("two-way", dict.fromkeys(combiners.MODELS, noise), data)
    assert same.model == "mean"
    assert same.gain["boosting"] == (0.0, pytest.approx(0.0))
    better = dict.fromkeys(combiners.MODELS, noise) | {"logistic": noise + 3 * member}
    assert choice._best("two-way", better, data).model == "logistic"


def test_paired_gain_is_the_difference_of_naive_aucs():
    rng = np.random.default_rng(4)
    member = rng.random((5, 20)) < 0.5
    a, b = np.round(rng.normal(size=(2, 5, 20)), 1)

    def naive(score):
        each = []
        for s, m in zip(score, member, strict=True):
            each.append(np.mean([(i > o) + 0.5 * (i == o) for i in s[m] for o in s[~m]]))
        return np.mean(each)

    gain, error = estimate.paired_gain(a, b, member, np.arange(20))
    assert gain == pytest.approx(naive(a) - naive(b))
    assert estimate.mean_within(a, member) == pytest.approx(naive(a))
    assert 0.01 < error < 0.3


def test_the_error_of_a_gain_is_its_spread():
    """Independent noise: over replicates the gain varies as the standard error says."""
    rng = np.random.default_rng(6)
    member = np.array([rng.permutation(30) < 15 for _ in range(6)])
    found = np.array([estimate.paired_gain(*rng.normal(size=(2, 6, 30)), member, np.arange(30)) for _ in range(150)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.25)
    assert abs(found[:, 0].mean()) < 0.02


def test_memory_gains_nothing_on_held_out_pairs_and_everything_on_its_own(monkeypatch, null):
    """Boosting with room for every pair: right about those it was fitted on, a coin about the others."""
    room = {"max_iter": 12, "learning_rate": 1.0, "min_samples_leaf": 1, "l2_regularization": 0.0}
    monkeypatch.setattr(boosting, "SETTINGS", room)
    member = null.bank.member
    held = crossfit.two_way(null, Options(8, 3, 0.1, 0, "boosting"), 0)
    order = calibration.priorities(null.ids, len(member), 0, 0)
    found = calibration.shadow_residuals(null.bank, order, 2).value
    nobody = np.zeros(null.groups, bool)
    nulls = crossfit.shadow_nulls(found, null)
    pairs = crossfit.pairs_of(found, null, range(len(member)), nobody, nulls)
    memory = combiners.fit_combiner(pairs.z, pairs.label, tuple(null.bank.names), 0.1, None, "boosting")
    own = estimate.mean_within(memory.logit(pairs.z).reshape(member.shape), member)
    assert own > 0.7  # monotone, so not all of noise can be learnt by heart
    assert abs(estimate.mean_within(held.logit, member) - 0.5) < 0.1


def test_a_family_left_out_is_in_nothing_fitted(two_families):
    options = Options(8, 3, 0.1, 0)
    recipes = [Recipe("mean"), Recipe("logistic")]
    one = families.leave_one_out(two_families, options, 0, recipes)
    other = garbled(two_families, shadows=[8])
    two = families.leave_one_out(other, options, 0, recipes)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.logit[9:], b.logit[9:])  # family 1: fitted on family 0 alone
        assert (a.logit[8] != b.logit[8]).any()
        assert (a.logit[:8] != b.logit[:8]).any()


def test_a_family_left_out_as_a_naive_loop_has_it(two_families):
    data, options = two_families, Options(8, 3, 0.1, 0)
    (found,) = families.leave_one_out(data, options, 0, [Recipe("logistic")])
    fold = crossfit.folds(data.group, 3, 0)
    known = data.only(np.arange(8))
    order = calibration.priorities(data.ids, 16, 0, 0)[:, :8]
    count = min(sum(not held for held in column) for column in known.bank.member.T.tolist()) - 1
    references = calibration.choose_references(known.bank, order, count)
    k, f = 12, 1
    here = fold[data.group] == f
    each = []
    for j in range(8):
        chosen = calibration.choose_references(known.bank, order, count, (j,))
        each.append(residuals(known.bank.values[j], means(known.bank, chosen), ~here))
    combiner, pooled = crossfit.fit_on(np.stack(each), known, range(8), fold == f, 0.1)
    own = residuals(data.bank.values[k], means(known.bank, references), ~here)
    nulls = calibration.null_sums(own, ~data.bank.member[k], data.group, data.groups)
    wanted = combiner.logit(calibration.standardise(own, nulls, pooled))[here]
    np.testing.assert_allclose(found.logit[k, here], wanted, rtol=1e-6)
    assert np.isfinite(found.logit).all()


def test_families_decide_where_there_are_two(two_families, leaky):
    assert choice.choose(two_families, AUTO).by == "family"
    assert choice.choose(leaky, AUTO).by == "two-way"
    assert choice.choose(leaky, Options(8, 3, 0.1, 0, "mean")) == choice.Choice("mean", "given")
    with pytest.raises(ValueError, match="two families"):
        families.leave_one_out(leaky, Options(8, 3, 0.1, 0), 0, [Recipe("mean")])


def test_spread_is_the_textbooks_random_effects():
    """Moments of a simulated nest: families with deviation .1, shadows with .05."""
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(5), 4)
    draws = rng.normal(0, 0.1, (4000, 5))[:, family] + rng.normal(0, 0.05, (4000, 20))
    found = np.array([estimate.spread(a, family) for a in draws])
    assert found[:, 0].mean() == pytest.approx(0.05**2 + 0.1**2 * (1 + 1 / 5), rel=0.1)
    assert found[0, 2] == 15
    one = estimate.spread(draws[0], np.zeros(20, int))
    assert one == (pytest.approx(draws[0].var(ddof=1)), 0.0, 19)


def test_families_that_differ_widen_the_prediction_and_equal_ones_do_not():
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(40) < 20 for _ in range(8)])
    score = rng.normal(size=member.shape) + member
    unlike = score + 3 * member * (np.arange(8) >= 4)[:, None]
    family, group = np.arange(8) // 4, np.arange(40)

    def width(s, kinds):
        low, high = estimate.mean_auc(s, member, group, 40, family=kinds).prediction
        return high - low

    assert width(unlike, family) > 1.3 * width(unlike, None)  # from 0 to 1: it cannot be wider
    assert width(score, family) < 1.5 * width(score, None)
