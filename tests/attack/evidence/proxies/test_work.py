"""The proxies of a run: whose piles share a pack, and what is trained again when something changes."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import filelock
import numpy as np
import pytest

from attack.evidence.attack_data import AttackData, Pile
from attack.evidence.proxies import work
from attack.evidence.proxies.work import Proxies
from shadow.config import Config, DenoiserConfig, ProxyConfig
from shadow.errors import Stopped
from shadow.fleet.plan import Plan
from shadow.training.train import never

pytestmark = pytest.mark.slow  # networks are trained

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (5, 8, 8)).astype(np.float32)
GREY = {shadow: RNG.uniform(0, 255, (6, 8, 8)).astype(np.float32) for shadow in range(-2, 6)}


def pile(shadow: int, step: int = 30, count: int = 6) -> Pile:
    name = f"{shadow:04d}@{step}x{count}" if shadow >= 0 else {-1: "generated_dev", -2: "generated_test"}[shadow]

    def read():
        return GREY[shadow][:count]

    return Pile(name, max(shadow, -1), step if shadow >= 0 else -1, count, read, count, read)


def proxies(folder: Path, piles: list[Pile], **options: object) -> Proxies:
    config = Config()
    network = DenoiserConfig(patch=4, width=8, depth=1, heads=2)
    config.attack.proxy = dataclasses.replace(ProxyConfig(network, steps=6, batch_size=4, pack=2), **options)
    Plan((), 4, 1, 1, 1, "", "").write(folder / "plan.json")
    ids = tuple(f"image {i}" for i in range(len(IMAGES)))
    return Proxies(AttackData(IMAGES, ids, ids, 3, tuple(piles), folder, config))


def names(packs: list[work.Pack]) -> list[list[str]]:
    return [[one.name for one in pack.piles] for pack in packs]


def test_a_pack_is_of_neighbours_of_one_step_and_size():
    piles = [pile(k, step, count) for step in (10, 20) for k in (0, 1, 3, 4, 5) for count in (3, 6)]
    found = [[one.name for one in group] for group in work.grouped([*piles, pile(-1), pile(-2)], 2)]
    assert found[:4] == [
        ["0000@10x3", "0001@10x3"],
        ["0000@10x6", "0001@10x6"],
        ["0003@10x3"],  # of the pack of shadow 2, which is missing
        ["0003@10x6"],
    ]
    assert found[-2:] == [["generated_dev"], ["generated_test"]]
    assert sorted(name for group in found for name in group) == sorted(one.name for one in [*piles, pile(-1), pile(-2)])


def test_what_is_there_is_not_trained_again(tmp_path):
    first = proxies(tmp_path, [pile(0), pile(1), pile(-1)])
    assert names(first.missing()) == [["0000@30x6", "0001@30x6"], ["generated_dev"]]
    first.work(never)
    assert first.missing() == []
    values = first.values()
    assert values.shape == (3, len(IMAGES), 3)
    assert len(np.unique(values)) == values.size
    grown = proxies(tmp_path, [pile(0), pile(1), pile(2), pile(-1)])
    assert names(grown.missing()) == [["0002@30x6"]]
    grown.work(never)
    assert np.array_equal(grown.values()[[0, 1, 3]], values)
    assert [state.state for state in grown.states()] == ["done"] * 3
    grown.sweep()
    assert sorted(path.suffix for path in grown.root.iterdir()) == [".json"] * 3 + [".npy"] * 3


def test_another_pile_or_option_is_another_result_and_the_old_one_stays(tmp_path, monkeypatch):
    first = proxies(tmp_path, [pile(0), pile(-1)])
    first.work(never)
    values = first.values()
    assert len(proxies(tmp_path, [pile(0), pile(-1)], steps=7).missing()) == 2
    before = GREY[0]
    monkeypatch.setitem(GREY, 0, before[::-1])
    assert names(proxies(tmp_path, [pile(0), pile(-1)]).missing()) == [["0000@30x6"]]
    monkeypatch.setitem(GREY, 0, before)
    assert np.array_equal(proxies(tmp_path, [pile(0), pile(-1)]).values(), values)


def test_a_damaged_result_is_trained_again_to_the_same_numbers(tmp_path):
    made = proxies(tmp_path, [pile(0)])
    made.work(never)
    values, path = made.values(), made.root / f"{made.packs[0].key}.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert names(made.missing()) == [["0000@30x6"]]
    made.work(never)
    assert np.array_equal(made.values(), values)


def test_a_worker_waits_for_what_another_does_and_stops_when_asked(tmp_path):
    made = proxies(tmp_path, [pile(0)])
    made.root.mkdir(parents=True)
    asked = threading.Event()

    def stop() -> bool:
        if asked.is_set():
            return True
        asked.set()
        return False

    with filelock.FileLock(made.root / f".{made.packs[0].key}.lock"), pytest.raises(Stopped):
        made.work(stop)
    assert made.missing()


def test_the_cost_is_said_in_one_line(tmp_path):
    made = proxies(tmp_path, [pile(0), pile(1), pile(-1)])
    said = work.cost(made, made.missing())
    assert said.startswith("proxies: 3 diffusion models of ")
    assert "6 steps of 4 images" in said
    assert "\n" not in said
