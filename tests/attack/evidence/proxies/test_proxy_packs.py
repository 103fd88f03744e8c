"""Packs of proxies: they know their pile and nothing else, a killed one ends with the same bits, and no file that was
not written by the very same work passes for its result."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from absl import logging
from scipy import ndimage

from attack.evidence.proxies import packs
from attack.metrics import ranking
from shadow.config import DenoiserConfig, ProxyConfig
from shadow.errors import Stopped, UserError

pytestmark = pytest.mark.slow  # networks are trained

SIZE = 8
TINY = DenoiserConfig(patch=4, width=32, depth=1, heads=2)
CONFIG = ProxyConfig(TINY, steps=400, batch_size=16, learning_rate=5e-3, times=(50, 100, 200), noises=4, pack=4)
SHORT = dataclasses.replace(CONFIG, denoiser=DenoiserConfig(patch=4, width=8, depth=1, heads=2), steps=9)


def smooth(rng: np.random.Generator, count: int) -> np.ndarray:
    """Smooth images [count, SIZE, SIZE] in [0, 255]."""
    images = ndimage.gaussian_filter(rng.normal(size=(count, SIZE, SIZE)), (0, 1, 1))
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    return (255 * (images - low) / (high - low)).astype(np.float32)


def figures(planted: bool, tmp_path) -> float:
    """Mean over four piles of the AUC of the loss minus its mean over the other piles: of images whose disturbed copies
    are in the pile, and in no other, against images that are in none."""
    rng = np.random.default_rng(5)
    images = smooth(rng, 60)  # 10 for each of four piles, and 20 of nobody
    piles = np.stack([smooth(rng, 60) for _ in range(4)])
    if planted:
        for k in range(4):
            copies = np.repeat(images[10 * k : 10 * k + 10], 6, axis=0)
            piles[k] = np.clip(copies + rng.normal(0, 5, copies.shape), 0, 255)
    found = packs.measure(tmp_path, piles, images, CONFIG, 0).mean(-1)
    areas = []
    for k in range(4):
        relative = found[k] - np.delete(found, k, 0).mean(0)
        asked = np.r_[10 * k : 10 * k + 10, 40:60]
        areas.append(ranking.auc(relative[asked], np.arange(30) < 10))
    return float(np.mean(areas))


def test_a_pile_of_disturbed_members_gives_them_away(tmp_path):
    assert figures(True, tmp_path) > 0.9


def test_unrelated_piles_say_nothing(tmp_path):
    assert abs(figures(False, tmp_path) - 0.5) < 0.15  # the standard error of the mean of four is .06


def test_equal_piles_have_equal_proxies_and_a_pile_is_all_a_proxy_sees(tmp_path):
    rng = np.random.default_rng(0)
    a, b, c, images = smooth(rng, 12), smooth(rng, 12), smooth(rng, 12), smooth(rng, 3)
    found = packs.measure(tmp_path / "1", np.stack([a, b, a]), images, SHORT, 0)
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])
    other = packs.measure(tmp_path / "2", np.stack([a, c, a]), images, SHORT, 0)
    assert np.array_equal(found[0], other[0])  # whoever shares its pack


def test_a_stopped_pack_goes_on_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    piles, images = np.stack([smooth(rng, 12), smooth(rng, 12)]), smooth(rng, 3)
    whole = packs.measure(tmp_path / "whole", piles, images, SHORT, 0)
    for moment in (2, 1):  # at step 4, and from there at step 7
        calls = iter(range(100))
        with pytest.raises(Stopped):
            packs.measure(tmp_path / "cut", piles, images, SHORT, 0, stop=lambda at=moment, n=calls: next(n) >= at)
    assert np.array_equal(packs.measure(tmp_path / "cut", piles, images, SHORT, 0), whole)


def test_a_loss_that_is_not_finite_names_the_field_to_change(tmp_path):
    rng = np.random.default_rng(0)
    wild = dataclasses.replace(SHORT, learning_rate=1e30)
    with pytest.raises(UserError, match=r"^proxies: .*lower attack\.proxy\.learning_rate"):
        packs.measure(tmp_path, np.stack([smooth(rng, 12)]), smooth(rng, 3), wild, 0)


def test_the_key_holds_all_that_decides_about_the_bits(monkeypatch):
    rng = np.random.default_rng(0)
    piles, images = [smooth(rng, 5), smooth(rng, 5)], smooth(rng, 3)
    key = packs.key(piles, images, SHORT, 0, 1)
    changed = piles[0].copy()
    changed[0, 0, 0] += 1
    others = {
        packs.key([changed, piles[1]], images, SHORT, 0, 1),
        packs.key(piles[::-1], images, SHORT, 0, 1),
        packs.key(piles[:1], images, SHORT, 0, 1),
        packs.key(piles, images[:2], SHORT, 0, 1),
        packs.key(piles, images, dataclasses.replace(SHORT, steps=8), 0, 1),
        packs.key(piles, images, dataclasses.replace(SHORT, times=(50,)), 0, 1),
        packs.key(piles, images, dataclasses.replace(SHORT, denoiser=TINY), 0, 1),
        packs.key(piles, images, SHORT, 1, 1),
        packs.key(piles, images, SHORT, 0, 2),
    }
    assert len(others) == 9
    assert key not in others
    assert packs.key(piles, images, dataclasses.replace(SHORT, pack=2), 0, 1) == key
    monkeypatch.setattr(packs.plans, "versions", lambda: ("other", "code"))
    assert packs.key(piles, images, SHORT, 0, 1) != key


def test_a_result_is_read_back_and_its_checkpoints_go(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    (tmp_path / "abc" / "0").mkdir(parents=True)
    assert packs.read(tmp_path, "abc", values.shape) is None
    packs.write(tmp_path, "abc", values)
    assert np.array_equal(packs.read(tmp_path, "abc", values.shape), values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abc.json", "abc.npy"]


@pytest.mark.parametrize("damage", ["cut", "other numbers", "other shape", "no hash", "pickle"])
def test_what_cannot_be_the_result_is_named_and_none(tmp_path, damage, monkeypatch):
    values = np.zeros((2, 3, 3), np.float32)
    packs.write(tmp_path, "abc", values)
    path = tmp_path / "abc.npy"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "other numbers":
        np.save(path, values + 1)
    elif damage == "other shape":
        packs.write(tmp_path, "abc", values[:1])
    elif damage == "no hash":
        (tmp_path / "abc.json").write_text("{}")
    else:
        np.save(path, np.array([{}]), allow_pickle=True)
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *given: said.append(text % given))
    assert packs.read(tmp_path, "abc", values.shape) is None
    (line,) = said
    assert "abc.npy" in line
    assert "trained again" in line
