"""The AUC to expect without labels, against a double loop, another minimiser and simulated generators."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn.metrics import roc_auc_score

from attack import confidence, estimate, layout, store
from attack.crossfit import Options
from attack.model import Recalibration, fit_recalibration
from shadow.config import Config


def naive(score, probability):
    above = pairs = 0.0
    for i, (f, p) in enumerate(zip(score, probability, strict=True)):
        for j, (g, q) in enumerate(zip(score, probability, strict=True)):
            if i != j:
                above += p * (1 - q) * ((f > g) + 0.5 * (f == g))
                pairs += p * (1 - q)
    return above / pairs


@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(0.01, 0.99)), min_size=2, max_size=12))
def test_implied_auc_against_a_double_loop(rows):
    score, probability = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    assert confidence.implied_auc(score, probability) == pytest.approx(naive(score, probability), abs=1e-9)


def test_right_probabilities_imply_the_auc_they_have():
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 2, 20_000)
    label = rng.random(logit.size) < special.expit(logit)
    implied = confidence.implied_auc(logit, special.expit(logit))
    assert implied == pytest.approx(roc_auc_score(label, logit), abs=0.005)
    assert confidence.implied_auc(logit / 3, special.expit(logit / 3)) < implied - 0.05  # less sure, less implied


def test_certain_and_equal_candidates_imply_a_finite_auc():
    sure = confidence.implied_auc(np.array([-99.0, 99.0]), np.array([0.0, 1.0]))
    assert 0.99 < sure < 1
    assert confidence.implied_auc(np.zeros(5), np.linspace(0, 1, 5)) == pytest.approx(0.5)
    assert confidence.implied_auc(np.ones(3), np.ones(3)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="one candidate"):
        confidence.implied_auc(np.ones(1), np.ones(1))


def made(auc, implied, images=40.0, family=None):
    auc, implied = np.asarray(auc, float), np.asarray(implied, float)
    counts = np.full(len(auc), images)
    family = np.zeros(len(auc), int) if family is None else family
    return confidence.Trials(implied, auc, counts, counts, family, 2 * int(images))


def drawn(rng, shadows=8, scatter=0.3, images=40, slope=1.5, offset=-1.0):
    """Trials of which each has an AUC around a line, judged on so many images of each kind with normal scores; what
    they imply is known with noise."""
    level = np.broadcast_to([1.1, 2.0, 2.9], (shadows, 3))
    implied = special.expit(level + rng.normal(0, 0.3, level.shape))
    true = special.expit(offset + slope * level + rng.normal(0, scatter, level.shape))
    return implied, np.vectorize(lambda a: judged(rng, a, images))(true), true


def judged(rng, auc, images):
    apart = np.sqrt(2) * special.ndtri(auc)
    members, others = rng.normal(apart, 1, images), rng.normal(0, 1, images)
    return (members[:, None] > others).mean()


def test_the_line_against_a_minimiser_of_its_likelihood():
    implied, auc, _ = drawn(np.random.default_rng(1))
    found = confidence.foresee(made(auc, implied), 0.9, 100, 0.0)
    coins = 3 * 40 * 40 / 81
    level = [np.log(column / (1 - column)).mean() for column in implied.T]

    def loss(line):
        chance = special.expit(line[0] + line[1] * np.array(level))
        fit = coins * (auc * np.log(chance) + (1 - auc) * np.log(1 - chance)).sum()
        return -fit + 0.5 * (line[0] / 5) ** 2 + 0.5 * ((line[1] - 1.5) / 0.35) ** 2

    best = optimize.minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    assert [found["offset"], found["slope"]] == pytest.approx(best, abs=1e-5)
    assert found["auc"] == pytest.approx(special.expit(best @ [1, special.logit(0.9)]))


def test_coins_of_an_auc_are_exact_for_one_that_says_nothing():
    trials = dataclasses.replace(made([[0.5]], [[0.5]]), members=np.array([7.0]), others=np.array([12.0]))
    variance = (7 + 12 + 1) / (12 * 7 * 12)  # of Mann and Whitney's U
    assert 0.25 / confidence._coins(trials)[0] == pytest.approx(variance)


def test_one_step_leaves_the_slope_to_its_prior_whatever_its_trials_imply():
    rng = np.random.default_rng(8)
    implied = special.expit(special.logit(0.8) + rng.normal(0, 0.4, (8, 1)))
    trials = made(np.full((8, 1), 0.9), implied)
    level = special.logit(implied).mean()
    found, near = (confidence.foresee(trials, float(special.expit(x)), 100, 0.0) for x in (level - 1, level))
    assert found["slope"] == pytest.approx(1.5, abs=0.05)
    assert special.logit(found["auc"]) == pytest.approx(special.logit(0.9) - 1.5, abs=0.05)
    wide, close = (np.diff(special.logit(f["interval"]))[0] for f in (found, near))
    assert wide > 1.05 * close  # the further from what was tried, the less is known


def test_perfect_trials_foresee_near_certainty_with_room_below():
    found = confidence.foresee(made(np.ones((8, 3)), np.full((8, 3), 0.99)), 0.99, 100, 0.0)
    assert found["auc"] > 0.995
    assert 0.8 < found["interval"][0] < 0.99
    assert found["interval"][1] == 1.0


def test_one_trial_short_of_perfect_does_not_make_all_uncertain():
    auc = np.ones((8, 1))
    auc[3] = 0.96
    found = confidence.foresee(made(auc, np.full((8, 1), 0.99), 20.0), 0.99, 60, 0.0)
    assert 0.5 < found["interval"][0] < 0.95


def test_the_interval_holds_the_auc_of_generators_like_the_trials_and_of_others():
    rng = np.random.default_rng(2)
    held = {0.3: 0, 0.5: 0, 2.0: 0}  # sd around the line of the one that is foreseen
    for other in held:
        for _ in range(150):
            implied, auc, _ = drawn(rng)
            asked = special.expit(rng.normal(2.0, 0.7))
            truth = special.expit(-1.0 + 1.5 * special.logit(asked) + rng.normal(0, other))
            low, high = confidence.foresee(made(auc, implied), asked, 100, 0.0)["interval"]
            held[other] += low <= judged(rng, truth, 50) <= high
    assert held[0.3] >= 142
    assert held[0.5] >= 135
    assert held[2.0] < 120  # it can fail


def test_a_target_outside_and_families_that_differ_widen_the_interval():
    rng = np.random.default_rng(3)
    implied, auc, _ = drawn(rng)

    def width(excess=0.0, family=None):
        return np.diff(
            special.logit(confidence.foresee(made(auc, implied, 40, family), 0.85, 1000, excess)["interval"])
        )[0]

    assert width(0.2) > width()
    assert width(1.0) < width(2.0) == pytest.approx(width(50.0))  # at most three times the variance
    apart = np.repeat([0, 1], 4)
    auc = special.expit(special.logit(np.clip(auc, 0.01, 0.99)) + np.where(apart, 1.0, -1.0)[:, None])
    assert width(family=apart) > 2 * width()


def test_what_families_differ_by_is_no_scatter_within_them():
    rng, apart, found = np.random.default_rng(7), np.repeat([0, 1, 2], 4), []
    for _ in range(40):
        shift = rng.normal(0, 1.0, 3)[apart][:, None]
        level = np.broadcast_to([1.1, 2.0, 2.9], (12, 3))
        true = special.expit(1.5 * level - 1.5 + shift + rng.normal(0, 0.2, level.shape))
        auc = np.vectorize(lambda a: judged(rng, a, 80))(true)
        trials = made(auc, special.expit(level), 80.0, apart)
        one = dataclasses.replace(trials, family=np.zeros(12, int))
        found.append([confidence._scatter(t, *confidence._line(t)[2:]) for t in (trials, one)])
    within, common = np.mean(found, 0)
    assert within < 0.2
    assert common > 0.5


def test_two_shadows_and_few_candidates_foresee_nothing():
    found = confidence.foresee(made([[0.9], [0.8]], [[0.9], [0.8]]), 0.9, 100, 0.0)
    assert found["auc"] is None
    assert "only 2 shadows" in found["why"]
    case = synthetic()
    few = confidence.of_candidates(case, np.zeros(9), 2, OPTIONS, 1, Recalibration(1.0, 0.0), weights(case), 0.0)
    assert few["auc"] is None
    assert few["why"] == "9 candidates are too few, 10 are needed"


OPTIONS = Options(8, 3, 1.0, 0)
STEPS = (1, 2, 3)


def synthetic(shadows=8, dev=40, seed=0, strengths=(0.0, 1.0, 2.5)):
    """A store whose piles give away more of their members with every step; not a file of it is written."""
    rng = np.random.default_rng(seed)
    member = np.array([rng.permutation(dev) < dev // 2 for _ in range(shadows // 2)])
    member = np.concatenate([member, ~member])
    used = np.arange(dev) % 2 == 0
    config = Config()
    config.pile.steps = STEPS
    sizes = dict.fromkeys(store.TARGETS, 5)
    piles = [store.pile_name(k, s, 5) for s in STEPS for k in range(shadows)]
    own = rng.normal(0, 1, dev)  # some slices are near to every pile
    values = [own + rng.normal(0, 1, dev) + strength * m for strength in strengths for m in member]
    values += [own + rng.normal(0, 1, dev) + 1.5 * used for _ in store.TARGETS]
    names = tuple(f"d{i}" for i in range(dev))
    return store.Store(
        values=np.array(values, np.float32)[:, :, None],
        layout=layout.plan(("pixels",), ("mosaic",)),
        piles=(*piles, *store.TARGETS),
        dev=names,
        test=(),
        groups=names,
        member=member,
        used=used,
        not_used=~used,
        statistics={},
        sizes=sizes,
        seen=sizes,
        shadows=tuple(range(shadows)),
        asked=shadows,
        config=config,
    )


def weights(data):
    return np.ones(data.member.shape)


def tried(data, weight=None):
    weight = weights(data) if weight is None else weight
    return confidence.trials(data, 2, OPTIONS, 1, Recalibration(1.0, 0.0), weight)


def test_trials_find_more_in_piles_that_give_away_more():
    found = tried(synthetic())
    assert found.auc.shape == found.implied.shape == (8, 3)
    assert (np.diff(found.auc.mean(0)) > 0.1).all()
    assert 0.4 < found.auc[:, 0].mean() < 0.6
    assert np.diff(found.implied.mean(0))[1] > 0
    assert (found.members == 20).all()
    assert found.others == pytest.approx(np.full(8, 20.0))


def test_a_trial_is_fitted_without_the_shadow_that_it_asks():
    """Its pile at the step of the fit is neither fitted on nor a reference: its trials at other steps stay."""
    data, k = synthetic(), 3
    before = tried(data)
    values = data.values.copy()
    values[data.piles.index(store.pile_name(k, 2, 5))] = np.random.default_rng(9).normal(0, 5, (40, 1))
    after = tried(dataclasses.replace(data, values=values))
    others = np.arange(8) != k
    np.testing.assert_array_equal(after.auc[k, [0, 2]], before.auc[k, [0, 2]])
    np.testing.assert_array_equal(after.implied[k, [0, 2]], before.implied[k, [0, 2]])
    assert after.implied[k, 1] != before.implied[k, 1]
    assert (after.implied[others] != before.implied[others]).any(1).all()  # for them it is a shadow like any


def test_an_attack_that_knows_pairs_by_heart_has_no_trial_above_chance():
    """Values that are noise but for the membership of their own pair at the fitted step cannot help elsewhere."""
    data = synthetic(strengths=(0.0, 0.0, 0.0), seed=4)
    values = data.values.copy()
    first = data.piles.index(store.pile_name(0, 2, 5))
    values[first : first + 8, :, 0] += 6.0 * data.member  # step 2 shows all, steps 1 and 3 nothing
    found = tried(dataclasses.replace(data, values=values))
    assert found.auc[:, 1].mean() > 0.95
    assert abs(found.auc[:, [0, 2]].mean() - 0.5) < 0.06


def test_trials_weigh_non_members():
    data = synthetic()
    weight = np.zeros(data.member.shape)
    weight[:, :20] = 1.0
    found, plain = tried(data, weight), tried(data)
    assert found.others == pytest.approx((~data.member[:, :20]).sum(1))
    np.testing.assert_array_equal(found.implied, plain.implied)
    assert (found.auc != plain.auc).any()
    weight[2] = data.member[2]  # no non-member of it weighs anything
    assert tried(data, weight).auc.shape == (7, 3)


def test_where_nulls_are_presumed_trials_presume_them_of_their_non_members():
    """A target's presumed are nearly all non-members; half of the dev slices are members of a shadow."""
    data = synthetic(dev=80)
    presumed = dataclasses.replace(data, used=np.zeros(80, bool), not_used=np.zeros(80, bool))
    assert presumed.presumed
    found, known = tried(presumed), tried(data)
    assert (found.implied != known.implied).any()
    assert found.implied.mean(0) == pytest.approx(known.implied.mean(0), abs=0.04)
    assert found.auc.mean(0) == pytest.approx(known.auc.mean(0), abs=0.04)


def test_signals_without_numbers_for_other_steps_are_tried_at_their_own(monkeypatch):
    data = synthetic()
    monkeypatch.setattr(layout.Layout, "by_step", True)
    found = tried(data)
    monkeypatch.undo()
    np.testing.assert_array_equal(found.auc, tried(data).auc[:, [1]])
    assert layout.Layout(layout.columns_of((), ("discriminator",)), {}).by_step
    assert not data.layout.by_step


def test_what_is_foreseen_of_targets_that_leak_less_than_shadows():
    """The shadows show 2.5 at the step of the attack; targets show from nothing to as much. The two-way estimate says
    the same of all; the one of their confidence follows the truth."""
    data = synthetic(dev=80)
    known = data.labelled(3, "generated_test")
    options = dataclasses.replace(OPTIONS, seed=1)
    from attack import crossfit, target

    held = crossfit.two_way_mean(known, options, 2)
    recalibration = fit_recalibration(held.logit.ravel(), known.bank.member.ravel().astype(float))
    two_way = estimate.mean_auc(held.logit, known.bank.member, known.group, 80).auc
    fitted = target.fit_draws(known, options, 2)
    rng, errors, others = np.random.default_rng(5), [], []
    own = data.values[: 8 * 3, :, 0].mean(0)
    for strength in np.repeat([0.3, 0.8, 1.3, 2.0], 3):
        used = rng.permutation(80) < 40
        about = (own + rng.normal(0, 1, 80) + strength * used).astype(np.float32)[:, None]
        asked = target.Target(about, about, ~used, known.bank, data.pool)
        score = target.score(known, asked, fitted, options)
        truth = roc_auc_score(used, score)
        weight = np.ones(known.bank.member.shape)
        found = confidence.of_candidates(data, score, 3, options, 2, recalibration, weight, 0.0)
        errors.append(found["auc"] - truth)
        others.append(two_way - truth)
        assert found["interval"][0] <= truth <= found["interval"][1]
    assert np.abs(errors).mean() < 0.5 * np.abs(others).mean()


def test_the_scatter_is_what_judging_leaves_over():
    rng, found = np.random.default_rng(6), []
    for _ in range(60):
        implied, auc, _ = drawn(rng, shadows=8, scatter=0.6, images=60, slope=1.0, offset=-0.5)
        trials = made(auc, implied, 60.0)
        _, _, residual, rise = confidence._line(trials)
        found.append(confidence._scatter(trials, residual, rise))
    assert np.sqrt(np.mean(found)) == pytest.approx(0.6, abs=0.1)
    none = [
        confidence._scatter(t, *confidence._line(t)[2:])
        for t in (made(*drawn(rng, scatter=0.0)[1::-1]) for _ in range(30))
    ]
    assert np.sqrt(np.mean(none)) < 0.3
