"""How a run without shadows labels candidates, and which dev labels it lets count."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from attack import baselines
from attack.baselines.alone import calibrating, choice, scoring, standing
from attack.baselines.alone.calibrating import Calibrated
from shadow.config import AttackConfig, Config

DECIDER, RANKER = "vcmi.retrieval.ssim", "nearest.highpass"


def config(**attack) -> Config:
    return Config(attack=AttackConfig(folds=4, **attack))


def f1(said, truth) -> float:
    return 2 * int(said @ truth) / int(said.sum() + truth.sum())


def signal(rng, area_shift, members=40):
    """Scores, labels and groups of pairs of slices."""
    label = np.repeat([1, 0], members)
    return rng.normal(size=2 * members) + area_shift * label, label, np.arange(2 * members) // 2


def calibrated(name, score, label, group) -> Calibrated:
    return calibrating.calibrate({name: score}, label, group, 4, 0)


def test_probabilities_and_not_the_own_rule_label_where_there_are_any():
    """A decider whose own bar lies too high for this pile: it finds few of the members that its order shows."""
    rng = np.random.default_rng(0)
    dev, label, group = signal(rng, 1.5)
    score, truth, _ = signal(rng, 1.5)
    fitted = calibrated(DECIDER, dev - 3, label, group)
    old = choice.labels(DECIDER, score - 3, 0.5)
    found = scoring.label(DECIDER, score - 3, fitted, config())
    assert f1(old, truth) < 0.3
    assert f1(found.labels, truth) > 0.7
    assert found.rule == "expected"
    assert found.expected is not None
    assert found.expected > 2 / 3
    assert (np.diff(found.probability[np.argsort(score)]) >= 0).all()


def test_the_users_baseline_is_obeyed():
    rng = np.random.default_rng(1)
    score, label, group = signal(rng, 1.5)
    decided = scoring.label(DECIDER, score, None, config(baseline=DECIDER))
    assert (decided.rule, decided.expected, decided.probability) == ("own", None, None)
    assert (decided.labels == (score > 0)).all()
    ranked = scoring.label(RANKER, score, None, config(baseline=RANKER, prior=0.25))
    assert (ranked.rule, ranked.labels.sum()) == ("share", 20)
    assert set(np.flatnonzero(ranked.labels)) == set(np.argsort(-score)[:20])
    mapped = scoring.label(RANKER, score, calibrated(RANKER, score, label, group), config(baseline=RANKER))
    assert mapped.rule == "expected"


@pytest.mark.parametrize(
    ("objective", "prior", "rule", "ones"),
    [
        ("f1", 0.5, "prior", 10),
        ("f1", 0.1, "prior", 10),
        ("accuracy", 0.3, "prior", 0),
        ("accuracy", 0.7, "prior", 10),
        ("accuracy", 0.5, "share", 5),
        ("kappa", 0.3, "share", 3),
    ],
)
def test_without_labels_that_count(objective, prior, rule, ones):
    score = np.random.default_rng(2).permutation(10.0 + np.arange(10))
    found = scoring.label(RANKER, score, None, config(objective=objective, prior=prior))
    assert (found.rule, found.labels.sum(), found.probability) == (rule, ones, None)
    assert (found.expected is None) == (rule == "share")
    if rule == "share":
        assert set(np.flatnonzero(found.labels)) == set(np.argsort(-score)[:ones])


@pytest.mark.parametrize(("objective", "prior"), [("f1", 0.5), ("f1", 0.2), ("kappa", 0.3), ("accuracy", 0.5)])
def test_the_order_is_followed_where_it_can_only_gain(objective, prior):
    """Simulated with an order that says nothing: `highest` against all-ones and nobody."""
    rng = np.random.default_rng(3)
    truth = rng.random((4000, 20)) < prior
    said = np.zeros(20, bool)
    said[: round(prior * 20)] = True

    def mean(said) -> float:
        tp, fp = (truth & said).sum(1), (~truth & said).sum(1)
        fn, tn = (truth & ~said).sum(1), (~truth & ~said).sum(1)
        if objective == "f1":
            value = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
        elif objective == "kappa":
            value = 2 * (tp * tn - fn * fp) / np.maximum((tp + fp) * (fp + tn) + (tp + fn) * (fn + tn), 1)
        else:
            value = (tp + tn) / 20
        return float(value.mean())

    best = max(mean(np.ones(20, bool)), mean(np.zeros(20, bool)))
    assert (mean(said) > best - 0.01) == choice.follows_order(objective, prior)


def test_labels_that_show_nothing_leave_the_prior():
    rng = np.random.default_rng(4)
    noise, label, group = signal(rng, 0.0)
    fitted = calibrated(RANKER, noise, label, group)
    assert fitted.strength == 0
    found = scoring.label(RANKER, noise, fitted, config(prior=0.4))
    np.testing.assert_allclose(found.probability, 0.4)
    assert (found.rule, found.labels.sum()) == ("prior", 80)
    assert scoring.label(RANKER, noise, fitted, config(objective="kappa")).rule == "share"


def dev_of(images, label, group, found) -> scoring.LabelledScores:
    return scoring.LabelledScores(images, label, group, standing.Standing(True, "user", ""), found, 30)


def test_candidates_meet_references_as_large_as_those_of_dev_slices():
    rng = np.random.default_rng(5)
    images, candidates, pile = (rng.integers(0, 256, (n, 8, 8)).astype(np.float32) for n in (24, 5, 30))
    label, group = np.repeat([1, 0], 12), np.arange(24)
    found = scoring.as_dev(candidates, dev_of(images, label, group, {}), pile, "domias", config())
    fold = scoring.crossfit.folds(group, 4, 0)[group]
    each = [
        baselines.score_all(candidates, pile, images[(label == 0) & (fold != f)], names=["domias"])["domias"]
        for f in range(4)
    ]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-5)
    whole = baselines.score_all(candidates, pile, images[label == 0], names=["domias"])["domias"]
    assert np.abs(found - whole).max() > 1e-3


def test_which_options_switch_the_map_off():
    rng = np.random.default_rng(6)
    score, label, group = signal(rng, 1.5)
    images = np.zeros((80, 8, 8), np.float32)
    dev = dev_of(images, label, group, {RANKER: -score, DECIDER: score})
    found = scoring.calibrate(dev, config())
    assert found is not None
    assert found.name == DECIDER
    named = scoring.calibrate(dev, config(baseline=RANKER))
    assert named is not None
    assert (named.name, named.strength) == (RANKER, 0)
    for options in ({"recalibrate": "none"}, {"baseline": DECIDER}, {"baseline": "domias"}):
        assert scoring.calibrate(dev, config(**options)) is None
    other = scoring.LabelledScores(images, label, group, standing.Standing(False, "user", ""), dev.scores, 30)
    assert scoring.calibrate(other, config()) is None
    assert scoring.calibrate(None, config()) is None


def test_the_users_word_is_taken():
    yes, no = standing.said("true"), standing.said("false")
    assert yes is not None
    assert no is not None
    assert (yes.count, no.count, standing.said("auto")) == (True, False, None)


def noise_piles(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    dev, test = rng.normal(128, 20, (60, 8, 8)), rng.normal(128 + shift, 20, (45, 8, 8))
    return dev.astype(np.float32), test.astype(np.float32)


def asked(dev_shift, test_shift, seed=0, pile_shift=0.0, group=None):
    """`standing.tested` with one baseline of such scores on each pile; and what it asked for."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=80)
    label = np.repeat([1, 0], 40)
    group = np.arange(80) // 2 if group is None else group
    calls = []

    def scored(role, count):
        calls.append((role, count))
        shift = dev_shift if role == "generated_dev" else test_shift
        return {RANKER: shared + 0.3 * rng.normal(size=80) + shift * label}

    attack = config().attack
    return standing.tested(*noise_piles(seed, pile_shift), label, group, scored, attack), calls


def test_labels_seen_in_both_piles_count_and_are_seen_in_equally_many_images():
    found, calls = asked(2.0, 2.0)
    assert found.count
    assert found.power > 0.8
    assert found.p > 0.05
    assert calls == [("generated_dev", 45), ("generated_test", 45)]


@pytest.mark.parametrize(("dev_shift", "test_shift"), [(2.0, 0.0), (0.0, 0.0), (0.0, 2.0)])
def test_labels_not_seen_in_one_of_the_piles_do_not_count(dev_shift, test_shift):
    assert not asked(dev_shift, test_shift)[0].count


def test_piles_that_differ_settle_it_without_scores():
    found, calls = asked(2.0, 2.0, pile_shift=60.0)
    assert (found.count, calls) == (False, [])


def test_too_few_groups_do_not_count():
    found, calls = asked(2.0, 2.0, group=np.repeat([0, 1], 40))
    assert not found.count
    assert len(calls) == 1


def test_folders_without_labels_have_no_dev_figures():
    manifest = SimpleNamespace(rows=lambda role: np.zeros(0, int), id=np.zeros(0, str))
    assert scoring.on_dev(manifest, np.zeros((3, 8, 8)), config()) is None
