"""References of candidates: stand-ins against a loop, and what goes wrong without them."""

import dataclasses

import numpy as np

from attack import calibration, layout, store, target
from attack.crossfit import Labelled, Options
from shadow import keys, membership
from shadow.config import Config, MembershipConfig

GROUPS, SHADOWS = 60, 8


def world(seed):
    """Evidence of piles that show the slices they hold, and their relatives half as much: three dev slices and two
    candidates a group. (data, target, used bool [candidate], groups of candidates)."""
    rng = np.random.default_rng(seed)
    dev, test = np.repeat(np.arange(GROUPS), 3), np.repeat(np.arange(GROUPS), 2)
    names, asked = [f"g{g}" for g in dev], [f"g{g}" for g in test]
    held = membership.draw(names, SHADOWS, MembershipConfig(unit="mixed", block=SHADOWS), seed)
    mine = rng.random(len(dev) + len(test)) < 0.5  # in the target's training set
    group = np.concatenate([dev, test])

    def evidence(inside):
        relatives = np.bincount(group, inside, GROUPS)[group] > inside
        value = rng.normal(size=len(group)) + 4 * inside + 2 * (relatives & ~inside)
        return value.astype(np.float32)[:, None]

    piles = np.stack([evidence(np.concatenate([row, np.zeros(len(test), bool)])) for row in held])
    ids = tuple(f"c{i}" for i in range(len(test)))
    bank = calibration.Bank(piles[:, : len(dev)], held, held, layout.plan(("pixels",), ("mosaic",)))
    barred = target.stand_ins(held, names, asked, ids, 0)
    other = dataclasses.replace(bank, values=piles[:, len(dev) :], member=barred, touched=barred)
    pile = evidence(mine)
    asked_about = target.Target(pile[: len(dev)], pile[len(dev) :], ~mine[: len(dev)], other, ids)
    return Labelled(bank, tuple(f"d{i}" for i in range(len(dev))), dev), asked_about, mine[len(dev) :]


def mean_z(data, asked, which):
    options = Options(references=8, folds=2, ridge=1.0, seed=0)
    return target.candidate_z(data, asked, np.ones(1), options, 0)[which].mean()


def test_unused_candidates_lie_where_unused_dev_slices_do():
    with_, without = [], []
    for seed in range(6):
        data, asked, used = world(seed)
        with_.append(mean_z(data, asked, ~used))
        nobody = np.zeros_like(asked.bank.member)
        plain = dataclasses.replace(asked, bank=dataclasses.replace(asked.bank, member=nobody))
        without.append(mean_z(data, plain, ~used))
    assert abs(np.mean(with_)) < 0.12  # 0 is the mean of unused dev slices
    assert np.mean(without) < -0.2


def test_presumed_non_members_are_those_of_the_mask_alone():
    data, asked, _ = world(0)
    options = Options(references=8, folds=2, ridge=1.0, seed=0)
    some = np.arange(len(data.ids)) < 100
    asked = dataclasses.replace(asked, null=some, presumed=True)
    wanted = target.candidate_z(data, asked, np.ones(1), options, 0)
    for place, same in ((150, True), (50, False)):
        changed = asked.pile_pool.copy()
        changed[place:] += 3
        changed[100:] -= 3 * (place == 50)
        other = dataclasses.replace(asked, pile_pool=changed)
        assert np.array_equal(target.candidate_z(data, other, np.ones(1), options, 0), wanted) == same


def test_stand_ins_against_a_loop():
    member = np.random.default_rng(0).random((6, 5)) < 0.5
    dev, groups, ids = ["a", "a", "b", "c", "a"], ["a", "z", "c"], ("x", "y", "w")
    found = target.stand_ins(member, dev, groups, ids, 7)
    drawn = keys.generator(7, "stand-in", "x").choice(np.array([0, 1, 4]))
    np.testing.assert_array_equal(found[:, 0], member[:, drawn])
    assert not found[:, 1].any()
    np.testing.assert_array_equal(found[:, 2], member[:, 3])
    np.testing.assert_array_equal(target.stand_ins(member, dev, groups[::-1], ids[::-1], 7), found[:, ::-1])


def test_the_store_has_stand_ins_where_they_are_asked_for():
    member = np.random.default_rng(1).random((6, 2)) < 0.5
    piles = (*(store.pile_name(k, 5, 3) for k in range(6)), "generated_dev", "generated_test")
    plan = layout.plan(("pixels",), ("mosaic",))
    for wanted in (False, True):
        config = Config()
        config.attack.stand_ins, config.pile.steps = wanted, (5,)
        data = store.Store(
            values=np.zeros((8, 4, 1), np.float32),
            layout=plan,
            piles=piles,
            dev=("d0", "d1"),
            test=("c0", "c1"),
            groups=("a", "b", "b", "z"),
            member=member,
            used=np.array([False, True]),
            not_used=np.array([True, False]),
            statistics={},
            sizes={"generated_dev": 3, "generated_test": 3},
            seen={"generated_dev": 3, "generated_test": 3},
            shadows=tuple(range(6)),
            asked=6,
            config=config,
        )
        found = data.target("generated_test", 5).bank.member
        np.testing.assert_array_equal(found[:, 0], member[:, 1] & wanted)
        assert not found[:, 1].any()
