"""The cost of a run from rates, against sums by hand and loops."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attack.pipeline.costs import command, model, packs
from attack.pipeline.costs.model import AttackRates, Growth, PackRates, PackWork, Stored, Took
from shadow.config import Config, FamilyConfig
from shadow.fleet import orchestrate

MIB = 2**20
RATES = PackRates(
    shadows=4,
    start=Took(10.0, 8.0),
    step=Took(0.1, 0.2),
    save=Took(2.0, 1.0),
    compile=Took(5.0, 4.0),
    batch=Took(3.0, 6.0),
    memory=100 * MIB,
    checkpoint=Stored(1000, 10),
)
WORK = PackWork(RATES, steps=100, saves=5, batches=6, kept=Stored(5000, 40))
ATTACK = AttackRates(
    Took(4.0, 3.0),
    Took(1.0, 1.0),
    (
        ("signals", Growth(10.0, 2.0, 1), Growth(9.0, 1.0, 1)),
        ("fit", Growth(1.0, 0.5, 2), Growth(1.0, 0.25, 2)),
    ),
    Growth(300.0 * MIB, MIB, 1),
    Growth(1000.0, 10.0, 1),
    20,
    160,
)


def test_a_fleet_by_hand():
    train, sample = model.fleet_costs([WORK] * 3, workers=2)
    # a pack trains for 100 * .1 + 5 * 2 = 20 s and samples for 6 * 3 = 18 s; the first worker does two of the three
    assert train.took.wall == pytest.approx(10 + 76 * 20 / 38)
    assert sample.took.wall == pytest.approx(5 + 76 * 18 / 38)
    assert train.took.processor == pytest.approx(2 * 8 + 3 * (100 * 0.2 + 5 * 1))
    assert sample.took.processor == pytest.approx(2 * 4 + 3 * 6 * 6)
    assert train.memory == sample.memory == 200 * MIB
    assert train.stored == Stored(3 * 4 * 5000, 3 * 4 * 40)


def test_more_workers_than_packs_do_not_start():
    alone, many = model.fleet_costs([WORK], workers=1), model.fleet_costs([WORK], workers=64)
    assert alone == many


def test_the_attack_by_hand():
    signals, fit = model.attack_costs(ATTACK, 8)
    assert (signals.took, fit.took) == (Took(26.0, 17.0), Took(33.0, 17.0))
    assert fit.memory == 308 * MIB
    assert (signals.stored, fit.stored) == (Stored(), Stored(1080, 20))
    whole = model.total((signals, fit))
    assert (whole.took, whole.memory, whole.stored) == (Took(59.0, 34.0), 308 * MIB, Stored(1080, 20))


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30), st.integers(1, 8))
def test_whoever_is_free_takes_the_next_pack(seconds, workers):
    free = np.zeros(workers)
    for pack in seconds:
        free[np.argmin(free)] += pack
    assert model.schedule(seconds, workers) == pytest.approx(free.max())


@given(st.floats(0, 100), st.floats(0.01, 100), st.sampled_from([1, 2]))
def test_a_growth_goes_through_its_points(fixed, each, power):
    found = model.through((8, fixed + each * 8**power), (16, fixed + each * 16**power), power)
    assert found.at(64) == pytest.approx(fixed + each * 64**power, rel=1e-6)


def test_chance_makes_no_cost_negative():
    assert model.through((8, 3.0), (16, 2.0), 2) == Growth(2.5, 0.0, 2)
    assert model.through((8, 1.0), (16, 100.0), 2).at(1) >= 0
    assert Took(1.0, 5.0) - Took(2.0, 1.0) == Took(0.0, 4.0)


def test_what_a_shadow_leaves_is_what_the_fleet_asks_of_the_disk():
    config = Config()
    config.train.steps, config.train.checkpoint_every, config.pile.steps = 1000, 200, (300, 1000)
    numbers, arrays = orchestrate.parameters(config.denoiser, 32)
    rates = dataclasses.replace(RATES, checkpoint=Stored(4 * (4 * numbers + 1024 * arrays) + 4096, 20))
    work = packs.work(config, rates)
    assert work.saves == len({200, 300, 400, 600, 800, 1000})
    assert work.batches == 2 * 5  # 250 images in batches of 50
    # steps 300 and 1000 stay, and 800, the newest but one
    most = orchestrate.disk_bytes(config, [0])
    assert most / 2 < work.kept.bytes <= most
    assert work.kept.files == 3 * 20 + 2 + 6


def test_other_sizes_of_a_mixed_fleet_have_the_packs_of_each_family():
    config = Config()
    config.membership.block, config.fleet.shadows, config.fleet.pack = 4, 8, 4
    config.fleet.families = (FamilyConfig("a"), FamilyConfig("b"))
    slow = dataclasses.replace(WORK, steps=1000)
    grown = command.of_fleet(config, (WORK, slow), 32)
    assert [work.steps for work in grown] == [100, 1000] * 4


def test_the_largest_batch_is_found_and_not_guessed():
    def seconds(batch):
        if batch > 500:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return 1.0 + batch / 1000

    assert [batch.images for batch in packs.doubled(seconds, 50)] == [50, 100, 200, 400]
    assert [batch.images for batch in packs.doubled(lambda batch: batch / 70, 50)] == [50, 100]  # as fast as before
    rates = dataclasses.replace(RATES, batches=tuple(packs.doubled(seconds, 50)))
    found = command.Estimate((), (dataclasses.replace(WORK, rates=rates),), ATTACK, 1)
    config = Config()
    assert "--config.pile.batch_size=400" in command.by_batch(config, found)[-1]
    config.pile.batch_size = 400
    assert command.by_batch(config, found) == []


def test_the_table_names_every_size_and_number_of_devices():
    config = Config()
    found = command.Estimate((), (WORK, WORK), ATTACK, 2)
    lines = command.by_size(config, found).splitlines()
    assert lines[1].split()[:7] == ["shadows", "on", "1", "on", "8", "on", "64"]
    assert [line.split()[0] for line in lines[2:]] == ["16", "64", "256", "1,024"]
    assert command.by_stage(model.attack_costs(ATTACK, 8)).splitlines()[-1].split()[:3] == ["all", "59", "s"]
