"""The option attack.ratio in calibration, fits and stages: pair by pair, and what it must not know."""

import dataclasses
import json

import numpy as np
import pytest
from test_calibration import IMAGES, SHADOWS, make
from test_store import attack, make_fleet, recipe

from attack import calibration, choice, controls, crossfit, estimate, families, layout, likelihood, store, target
from attack.crossfit import Labelled, Options
from attack.statistics import ranking
from shadow import membership
from shadow.config import MembershipConfig
from shadow.errors import UserError

RATIOS = ("none", "offline", "online")


def with_ratio(data, ratio):
    return dataclasses.replace(data, bank=dataclasses.replace(data.bank, ratio=ratio))


def test_one_reference_is_refused():
    data = with_ratio(make(), "offline")
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    with pytest.raises(ValueError, match="differ by nothing"):
        calibration.shadow_residuals(data.bank, order, 1)


def test_ties_everywhere_stay_finite():
    data = make()
    flat = dataclasses.replace(data.bank, values=np.ones_like(data.bank.values))
    for ratio in RATIOS[1:]:
        same = with_ratio(dataclasses.replace(data, bank=flat), ratio)
        held = crossfit.two_way(same, Options(8, 4, 1.0, 0), 0)
        assert np.isfinite(held.logit).all()


def naive_two_way(data):
    """z [shadow, candidate, column] of plain differences, pair by pair, with nothing shared."""
    order, fold = calibration.priorities(data.ids, SHADOWS, 0, 0), crossfit.folds(data.group, 4, 0)
    z = np.zeros((SHADOWS, IMAGES, len(data.bank.names)))
    for held in range(SHADOWS):
        residuals = []
        for k in range(SHADOWS):
            chosen = calibration.choose_references(data.bank, order, 2, (k, held))
            residuals.append(calibration.residuals(data.bank, data.bank.values[k], chosen))
        nulls = crossfit.shadow_nulls(np.stack(residuals), data)
        for f in range(fold.max() + 1):
            kept = [nulls[k].without(fold == f) for k in range(SHADOWS) if k != held]
            pooled, here = calibration.pooled_variance(kept), (fold == f)[data.group]
            z[held, here] = calibration.standardise(residuals[held], nulls[held], pooled)[here]
    return z


def test_without_a_ratio_it_is_the_plain_difference_to_the_last_bit():
    data = make(leak=1.0)
    assert data.bank.ratio == "none"
    found = crossfit.two_way(data, Options(8, 4, 1.0, 0), 0)
    assert found.z.tobytes() == naive_two_way(data).tobytes()
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    assert calibration.shadow_residuals(data.bank, order, 2).parts.shape[0] == 1  # nothing else was worked out


def test_offline_pair_by_pair():
    """Every held-out residual by hand: its references, their squares, the prior of the other images, the quantile."""
    data = with_ratio(make(leak=1.0), "offline")
    order, fold = calibration.priorities(data.ids, SHADOWS, 0, 0), crossfit.folds(data.group, 4, 0)
    held, f = 5, 2
    found = calibration.shadow_residuals(data.bank, order, 2).without(held).outside((fold == f)[data.group])
    for k in range(SHADOWS):
        chosen = calibration.choose_references(data.bank, order, 2, (k, held))
        value = calibration.residuals(data.bank, data.bank.values[k], chosen)
        square = calibration.spreads(data.bank, chosen)
        known = likelihood.prior(square[fold[data.group] != f], 2)
        np.testing.assert_allclose(found[k], likelihood.offline(value, square, 2, known), rtol=1e-12, atol=1e-14)


def test_online_references_are_as_many_with_as_without():
    data = with_ratio(make(), "online")
    order = calibration.priorities(data.ids, SHADOWS, 0, 0)
    found = calibration.shadow_residuals(data.bank, order, 2).without(3)
    outside, inside = found.references
    assert outside.shape == inside.shape == (SHADOWS, IMAGES, 2)
    for k in range(SHADOWS):
        for x in range(IMAGES):
            assert not data.bank.member[outside[k, x], x].any()
            assert data.bank.member[inside[k, x], x].all()
            for chosen in (outside[k, x], inside[k, x]):
                assert len({*chosen.tolist(), k, 3}) == 2 + len({k, 3})


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("held", [0, 5])
def test_a_held_out_shadow_might_never_have_been_there(ratio, held):
    data = with_ratio(make(leak=2.0), ratio)
    order, left = calibration.priorities(data.ids, SHADOWS, 0, 0), np.arange(IMAGES) % 5 == 0
    found = calibration.shadow_residuals(data.bank, order, 2).without(held).outside(left)
    others = [k for k in range(SHADOWS) if k != held]
    less = data.only(others)
    assert less.bank.ratio == ratio
    wanted = calibration.shadow_residuals(less.bank, order[:, others], 2).outside(left)
    np.testing.assert_allclose(found[others], wanted, rtol=1e-12, atol=1e-14)
    alone = calibration.relative(less.bank, data.bank.values[held][None], order[:, others], 2)
    np.testing.assert_allclose(found[held], alone.outside(left)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("ratio", RATIOS)
def test_held_out_groups_and_shadows_are_in_nothing_fitted(ratio):
    data = with_ratio(make(leak=2.0), ratio)
    options, fold = Options(8, 4, 1.0, 0), crossfit.folds(data.group, 4, 0)
    values = data.bank.values.copy()
    hidden = (fold == 1)[data.group]
    values[:, hidden] = np.random.default_rng(0).normal(0, 9, values[:, hidden].shape)
    garbled = dataclasses.replace(data, bank=dataclasses.replace(data.bank, values=values))
    one, two = (crossfit.two_way(d, options, 0) for d in (data, garbled))
    for a, b in zip(one.combiners, two.combiners, strict=True):
        np.testing.assert_array_equal(a[1].weights, b[1].weights)
        assert (a[0].weights != b[0].weights).any()

    values = data.bank.values.copy()
    values[5] = np.random.default_rng(0).normal(0, 9, values[5].shape)
    garbled = dataclasses.replace(data, bank=dataclasses.replace(data.bank, values=values))
    two = crossfit.two_way(garbled, options, 0)
    for a, b in zip(one.combiners[5], two.combiners[5], strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)


NOISE = controls.Size(dev=24, test=12, pile=30)
SEEDS = 64


def is_half(aucs):
    assert len(aucs) >= SEEDS
    assert abs(np.mean(aucs) - 0.5) < 3 * np.std(aucs, ddof=1) / np.sqrt(len(aucs))
    assert np.std(aucs) < 0.2


@pytest.fixture(scope="module")
def noise():
    """Piles of unrelated images; the candidates are held by shadows as dev images are, which changes no pile."""
    cases = []
    for seed in range(SEEDS):
        case = controls.evidence_of(0.0, seed, NOISE)
        config = MembershipConfig(unit="image", block=NOISE.shadows)
        held = membership.draw(case.asked.ids, NOISE.shadows, config, 99 + seed)
        plan = dataclasses.replace(case.data.bank.layout, columns=case.data.bank.layout.columns[:4])
        data, asked = (
            dataclasses.replace(part, bank=dataclasses.replace(part.bank, layout=plan, member=member, touched=member))
            for part, member in ((case.data, case.data.bank.member), (case.asked, held))
        )
        cases.append((data, asked, case.label))
    return cases


def of_noise(data, asked, label, ratio, seed):
    """AUC of the shadows' held-out pairs and of the target's candidates."""
    data, options = with_ratio(data, ratio), Options(8, 2, 1.0, seed)
    logit = crossfit.two_way(data, options, 0).logit
    score = target.score(data, with_ratio(asked, ratio), target.fit_draws(data, options, 1), options)
    return estimate.mean_within(logit, data.bank.member), ranking.auc(score, label)


@pytest.mark.parametrize("ratio", RATIOS[1:])
def test_images_of_nothing_give_one_half(noise, ratio):
    for aucs in np.transpose([of_noise(*case, ratio, seed) for seed, case in enumerate(noise)]):
        is_half(aucs)


@pytest.mark.parametrize("ratio", RATIOS[1:])
def test_images_of_unequal_spread_give_one_half(ratio):
    cases = [leaky(seed, leak=0.0) for seed in range(2 * SEEDS)]
    for aucs in np.transpose([of_noise(*case, ratio, seed) for seed, case in enumerate(cases)]):
        is_half(aucs)


def leaky(seed=0, leak=3.0, dev=30, test=20, shadows=SHADOWS, block=SHADOWS):
    """Piles that show what they hold, dev images and candidates alike, each image with a level and a spread of its own:
    (data, target, label [candidate])."""
    rng = np.random.default_rng(seed)
    names = [f"g{i}" for i in range(dev + test)]
    held = membership.draw(names, shadows, MembershipConfig(unit="image", block=block), seed)
    mine = rng.random(dev + test) < 0.5
    level, spread = rng.normal(0, 5, dev + test), 1 / np.sqrt(rng.chisquare(6, dev + test) / 6)

    def pile(inside):
        value = level + spread * (rng.normal(size=dev + test) + leak * inside)
        return value.astype(np.float32)[:, None]

    values, plan = np.stack([pile(row) for row in held]), layout.plan(("pixels",), ("mosaic",))
    banks = [calibration.Bank(values[:, s], held[:, s], held[:, s], plan) for s in (slice(dev), slice(dev, None))]
    shown, ids = pile(mine), tuple(f"c{i}" for i in range(test))
    asked = target.Target(shown[:dev], shown[dev:], ~mine[:dev], banks[1], ids)
    return Labelled(banks[0], tuple(names[:dev]), np.arange(dev)), asked, mine[dev:].astype(int)


@pytest.mark.parametrize("ratio", RATIOS)
def test_higher_means_a_member(ratio):
    options, two_way, of_target = Options(8, 3, 1.0, 0), [], []
    for seed in range(6):
        data, asked, label = leaky(seed)
        data, asked = with_ratio(data, ratio), with_ratio(asked, ratio)
        two_way.append(estimate.mean_within(crossfit.two_way(data, options, 0).logit, data.bank.member))
        score = target.score(data, asked, target.fit_draws(data, options, 1), options)
        of_target.append(ranking.auc(score, label))
    assert np.mean(two_way) > 0.9
    assert np.mean(of_target) > 0.9


@pytest.mark.parametrize("presumed", [False, True])
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_score_is_of_its_candidate_alone(ratio, presumed):
    data, asked, _ = leaky()
    data, options = with_ratio(data, ratio), Options(8, 3, 1.0, 0)
    asked = dataclasses.replace(with_ratio(asked, ratio), null=asked.null | presumed, presumed=presumed)
    fitted = target.fit_draws(data, options, 2)
    whole = target.score(data, asked, fitted, options)
    assert np.isfinite(whole).all()
    for some in ([3], [11, 2, 7], list(range(10, 20))):
        bank = dataclasses.replace(
            asked.bank, values=asked.bank.values[:, some], member=asked.bank.member[:, some], touched=None
        )
        ids = tuple(asked.ids[i] for i in some)
        few = dataclasses.replace(asked, pile_candidates=asked.pile_candidates[some], bank=bank, ids=ids)
        assert target.score(data, few, fitted, options).tobytes() == whole[some].tobytes()


@pytest.mark.parametrize("ratio", RATIOS[1:])
def test_choices_families_and_dev_images_go_the_same_way(ratio):
    data = leaky(shadows=2 * SHADOWS)[0]
    data = with_ratio(dataclasses.replace(data, family=np.arange(16) // 8), ratio)
    options = Options(8, 2, 0.1, 0, "auto")
    assert families.possible(data)
    assert choice.choose(data, options).by == "family"
    held = families.leave_one_out(data, options, 0, [crossfit.Recipe("mean")])[0]
    assert estimate.mean_within(held.logit, data.bank.member) > 0.8
    small = with_ratio(dataclasses.replace(leaky(block=4)[0], family=np.arange(8) // 4), ratio)
    assert not families.possible(small)  # two without each image, and one stands aside
    assert families.possible(with_ratio(small, "none"))
    assert [len(block) for block in choice.blocks(small)] == [1] * 8
    assert len(choice.nested(small, options)) == 8
    shown, asked, _ = leaky()
    shown = with_ratio(shown, ratio)
    dev = dataclasses.replace(asked, pile_candidates=asked.pile_pool, bank=shown.bank, ids=shown.ids)
    assert ranking.auc(target.score_pools(shown, [dev], Options(8, 3, 1.0, 0), 1)[0], (~asked.null).astype(int)) > 0.8


@pytest.mark.parametrize("ratio", RATIOS[1:])
def test_dev_images_on_a_target_are_in_no_prior_of_their_own(ratio):
    data, asked, _ = leaky()
    data, options = with_ratio(data, ratio), Options(8, 3, 1.0, 0)
    dev = dataclasses.replace(asked, pile_candidates=asked.pile_pool, bank=data.bank, ids=data.ids)
    fold, found = crossfit.folds(data.group, 3, 0), target.score_pools(data, [dev], options, 1)[0]
    for f in range(3):
        out = fold == f
        ((combiner, pooled),) = target.fit_draws(data, options, 1, out)
        z = target.candidate_z(data, dev, pooled, options, 0, out)
        np.testing.assert_array_equal(found[out], combiner.logit(z)[out])
        values = data.bank.values.copy()
        values[:, out] = np.random.default_rng(f).normal(0, 9, values[:, out].shape)
        garbled = dataclasses.replace(data, bank=dataclasses.replace(data.bank, values=values))
        known = dataclasses.replace(dev, null=dev.null & ~out)  # else the pile's mean would tell
        one, two = (target.candidate_z(d, known, pooled, options, 0, out) for d in (data, garbled))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("ratio", RATIOS)
def test_reference_counts_are_what_all_can_have(ratio):
    member = membership.draw([f"g{i}" for i in range(IMAGES)], 16, MembershipConfig(unit="image", block=8), 0)
    assert calibration.reference_count(member, 99, ratio) == 6
    one = member[1:]
    assert calibration.reference_count(one, 99, ratio) == 5
    assert calibration.reference_count(member[[not row[0] for row in member]], 99, "online") == 1
    eight = member[:8]
    assert calibration.enough(eight, ratio)
    assert calibration.enough(eight[1:], ratio) == (ratio == "none")


def test_too_few_for_a_ratio_are_named():
    member = np.zeros((8, 3), bool)
    member[::2] = True
    for ratio in RATIOS:
        calibration.check_enough(member, "abc", ratio)
    member[1, 2] = True
    calibration.check_enough(member, "abc")
    with pytest.raises(UserError, match=r"3 of these 8 .* without c, .* 4 are needed .*attack.ratio = 'offline'; use"):
        calibration.check_enough(member, "abc", "offline")
    member[[1, 0], 2] = member[2, 2] = False
    calibration.check_enough(member, "abc", "offline")
    with pytest.raises(UserError, match=r"2 of these 8 shadows were trained on c, .*attack.ratio = 'online'"):
        calibration.check_enough(member, "abc", "online")


@pytest.mark.parametrize("signals", [("mosaic",), ("ball", "mosaic", "votes", "discriminator")])
def test_the_option_goes_through_the_stages(images, tmp_path, signals):
    answers = {}
    config = recipe(pile=24, ratio="offline", signals=signals, embeddings=("pixels",), ablation=True, model="auto")
    found = make_fleet(tmp_path, images, range(16), config)
    for ratio in ("none", "offline"):
        evaluation, answers[ratio] = attack(tmp_path, found, recipe(**{**vars(config.attack), "ratio": ratio}))
        assert np.isfinite(evaluation["two_way"]["auc"])
        assert (
            store.read(tmp_path, found, config).labelled(config.train.steps, "generated_test").bank.ratio == "offline"
        )
        model = json.loads((tmp_path / "attack/model.json").read_text())
        assert np.isfinite(model["pooled_variance"]).all()
    assert answers["none"] != answers["offline"]
    assert b"nan" not in answers["offline"][1]
