"""The store of signals, of a whole fleet and of one with gaps: what is left must count as a fleet of its own."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from measured_fleet import ASKED, SIZE, make_fleet, recipe

from attack.decision import predicting
from attack.evidence import layout, measuring, pile_shift
from attack.evidence.embedded_pile import EmbeddedPile
from attack.evidence.embeddings import builtin
from attack.evidence.signals import SIGNALS
from attack.inference import controls, crossfit, fitting, store
from attack.inference.crossfit import Options
from shadow import fleet, piles
from shadow.config import MembershipConfig
from shadow.data import manifest as manifests
from shadow.training import membership


def attack(folder, found, config):
    for stage in (fitting.fit, predicting.predict):
        stage(folder, found, config)
    evaluation = json.loads((folder / "attack" / "evaluation.json").read_text())
    return evaluation, [(folder / name).read_bytes() for name in ("attack/model.json", "predictions.csv")]


@pytest.mark.parametrize(("steps", "flips"), [((), "none"), ((10, 20), "left_right")])
def test_the_store_is_what_measuring_pile_by_pile_gives(images, tmp_path, steps, flips):
    config = recipe(pile=24, signals=("nearest", "ratio", "mosaic"), flips=flips)  # the first two signals share a block
    config.pile.steps = steps
    shadows = [0, 3, 5, 6, 9, 12, 15]
    found = make_fleet(tmp_path, images, shadows, config)
    names = json.loads((tmp_path / "signals/names.json").read_text())
    assert (names["shadows"], names["asked"]) == (shadows, ASKED)
    assert store.shadows_in(tmp_path) == (shadows, ASKED)
    assert names["flips"] == {"names": [flips] * (flips != "none"), "share": None}
    assert store.read(tmp_path, found, config).flips.names == tuple(names["flips"]["names"])
    ids = names["candidates"]
    real, dev = found.images_at(ids, SIZE), fleet.dev_ids(found)
    rows = []
    for name in names["piles"][: -len(layout.TARGETS)]:
        path = piles.pile_path(fleet.shadow_folder(tmp_path, int(name[:4])), int(name[5:].split("x")[0]))
        parts = []
        for e in config.attack.embeddings:
            seen = np.load(path)[:24].astype(np.float32)
            if flips == "left_right":
                seen = np.concatenate([seen, seen[:, :, ::-1]])
            vectors, pile = builtin.embed(e, real), builtin.embed(e, seen)
            embedded = EmbeddedPile(vectors, pile)
            parts += [SIGNALS[s].block.measure(embedded) for s in ("nearest", "mosaic")]
        rows.append(np.concatenate(parts, axis=1).astype(np.float32))
    written = (tmp_path / "signals/values.npy").read_bytes()
    values = np.load(tmp_path / "signals/values.npy")
    np.testing.assert_array_equal(values[: len(rows)], rows)
    blocks = [[*(f"closeness.{i + 1}" for i in range(50)), "mosaic"]] * 3
    named = [f"{n}@{e}" for e, numbers in zip(config.attack.embeddings, blocks, strict=True) for n in numbers]
    assert names["signals"] == named  # every number of the last axis
    assert values.shape == (len(names["piles"]), len(ids), len(named))
    plain = io.BytesIO()
    np.save(plain, values)
    assert written == plain.getvalue()

    data, every = store.read(tmp_path, found, config), fleet.pile_steps(config)
    assert isinstance(data.values, np.memmap)  # the store is not copied
    member = np.load(tmp_path / "membership.npy")
    for chosen, step in enumerate(every):
        known, asked = (
            data.labelled(step, "generated_test").shadow_signals,
            data.target("generated_test", step).shadow_signals,
        )
        columns = tuple(f"{s}@{e}" for e in config.attack.embeddings for s in config.attack.signals)
        assert known.names == asked.names == columns
        for i, k in enumerate(shadows):
            np.testing.assert_array_equal(known.member[i], member[k])
            for s, other in enumerate(every):
                row = values[names["piles"].index(layout.pile_name(k, other, 24))]
                wanted = naive_signals(row)
                np.testing.assert_allclose(known.references[s, i], wanted[: len(dev)], atol=1e-6)
                np.testing.assert_allclose(asked.references[s, i], wanted[len(dev) :], atol=1e-6)
        assert not asked.member.any()
        for shadow_signals in (known, asked):
            assert len(shadow_signals.references) == len(every)
            np.testing.assert_array_equal(shadow_signals.values, shadow_signals.references[chosen])
    target = data.target("generated_test", every[-1])
    wanted = naive_signals(values[names["piles"].index("generated_test")])
    np.testing.assert_allclose(target.pile_pool, wanted[: len(dev)], atol=1e-6)
    np.testing.assert_allclose(target.pile_candidates, wanted[len(dev) :], atol=1e-6)


def naive_signals(numbers):
    """[image, column] of numbers [image, number] of the signals nearest, ratio and mosaic in some embeddings, of each
    the 50 nearest images and the mosaic."""
    rows = []
    for image in numbers.astype(float):
        row = []
        for part in np.split(image, len(image) // 51):
            d = np.exp(-part[:50])
            row += [-np.log(d[0]), -np.log(d[0] / d[1:].mean()), part[50]]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("side", "kind"), [(16, np.uint8), (8, np.float32)])
def test_piles_stay_whole_grey_levels_unless_they_are_reduced(images, tmp_path, side, kind):
    config = recipe(pile=20)
    config.data.resolution = side
    found = manifests.build(images, "2023", "", 0.5)
    path = piles.pile_path(fleet.shadow_folder(tmp_path, 3), config.train.steps)
    path.parent.mkdir(parents=True)
    np.save(path, np.full((20, side, side), 9, np.uint8))
    shadow, *targets = measuring.attack_data_of(tmp_path, found, config, [3]).piles
    assert isinstance(shadow.read(), np.memmap)
    for pile in targets:
        made = pile.read()
        assert (made.dtype, made.shape) == (kind, (20, side, side))
        every = found.images_at(pile.name, side)
        assert all((image == every).all((1, 2)).any() for image in made)


def test_shadows_at_two_sizes_are_told_apart(images, tmp_path):
    for i in range(21, 25):
        (images / f"dev/generated/generated_{i:04d}.png").unlink()
    config, shadows = recipe(pile=24), [1, 2, 4, 7, 8, 11, 13]
    found = make_fleet(tmp_path, images, shadows, config)
    data = store.read(tmp_path, found, config)
    assert data.sizes == {"generated_dev": 20, "generated_test": 24}
    step = fleet.pile_steps(config)[-1]
    for like, size in data.sizes.items():
        shadow_signals = data.labelled(step, like).shadow_signals
        for i, k in enumerate(shadows):
            row = data.piles.index(layout.pile_name(k, step, size))
            np.testing.assert_array_equal(
                shadow_signals.values[i], data.layout.signals(data.values[row, : len(data.dev)])
            )


@pytest.mark.slow
def test_a_fleet_with_gaps_counts_as_the_shadows_it_has(images, tmp_path):
    """Shadows 3, 7 and 12 of 16 never came: the same answers as from a fleet that only ever had the other 13."""
    left = [k for k in range(ASKED) if k not in (3, 7, 12)]
    gaps, own = tmp_path / "gaps", tmp_path / "own"
    for folder in (gaps, own):
        folder.mkdir()
    config, few = recipe(pile=24), recipe(pile=24)
    few.fleet.shadows = len(left)
    one, answers = attack(gaps, make_fleet(gaps, images, left, config), config)
    two, wanted = attack(own, make_fleet(own, images, left, few, list(range(len(left)))), few)
    assert answers == wanted
    assert (one["shadows_used"], one["shadows_asked"], one["shadows_missing"]) == (13, 16, [3, 7, 12])
    assert (two["shadows_used"], two["shadows_asked"], two["shadows_missing"]) == (13, 13, [])
    for evaluation in (one, two):  # memberships are redrawn for the fleet that was asked for
        evaluation["controls"] = [row for row in evaluation["controls"] if row["name"] != "membership redrawn"]
    assert {key for key in one if one[key] != two[key]} == {"shadows_asked", "shadows_missing"}
    with np.load(gaps / "attack/heldout.npz") as held:
        assert sorted(set(held["shadow"].tolist())) == left


@pytest.mark.slow
@pytest.mark.parametrize(("gone", "redraws", "possible"), [((0, 1, 2, 8, 9, 10), 4, True), (range(3, 13), 1, False)])
def test_memberships_are_redrawn_for_the_shadows_that_are_there(monkeypatch, gone, redraws, possible):
    shadows = [k for k in range(16) if k not in gone]
    case = controls.evidence_of(0.0, 0, controls.Size(shadows=len(shadows), dev=30, test=4))
    config, options = MembershipConfig(unit="image", block=8), Options(8, 2, 1.0, 0)
    asked, true = [], crossfit.two_way

    def two_way(data, *rest):
        asked.append(data.shadow_signals.member)
        return true(data, *rest)

    monkeypatch.setattr(crossfit, "two_way", two_way)
    ids = tuple(case.data.ids)
    row = controls.redrawn(controls.redraw(case.data, ids, config, options, redraws, shadows), 0.5)
    drawn = [membership.draw(ids, 16, config, 1_000_003 * (i + 1))[shadows] for i in range(20 * redraws)]
    wanted = [held for held in drawn if (~held).sum(0).min() >= 3][:redraws]
    assert len(wanted) == (redraws if possible else 0)
    np.testing.assert_array_equal(np.array(asked), np.array(wanted))
    assert (row.auc is not None) == possible == (row.why is None)


@pytest.mark.parametrize(("most", "seen"), [(0, 24), (15, 15), (5, 10)])
def test_distances_see_more_of_the_target_than_of_a_shadow(images, tmp_path, most, seen):
    for i in range(1, 5):
        (images / f"dev/generated/generated_{i:04d}.png").unlink()
    config = recipe(pile=10, target_pile=most, signals=("nearest", "votes"), embeddings=("pixels",), flips="none")
    found = make_fleet(tmp_path, images, [0, 3, 5, 6, 9, 12, 15], config)
    names, data = json.loads((tmp_path / "signals/names.json").read_text()), store.read(tmp_path, found, config)
    assert data.sizes == {"generated_dev": 10, "generated_test": 10}
    assert data.seen == {"generated_dev": min(seen, 20), "generated_test": seen}
    attack_data = measuring.attack_data_of(tmp_path, found, config, [0, 3])
    vectors = builtin.embed("pixels", attack_data.images)
    for role in attack_data.piles[-2:]:
        assert (len(role.read()), len(role.whole())) == (role.count, role.seen) == (10, data.seen[role.name])
        every = found.images_at(found.id[found.rows(role.name)].tolist(), SIZE)
        shown = role.whole()
        taken = [np.array_equal(image, shown[i]) for i in range(len(shown)) for image in every]
        assert sum(taken) == role.seen == len({image.tobytes() for image in shown})  # of the pile, none twice
        embedded = EmbeddedPile(vectors, builtin.embed("pixels", shown.astype(np.float32)))
        wanted = [SIGNALS[s].block.measure(embedded) for s in ("nearest", "votes")]
        row = data.values[data.piles.index(role.name)]
        np.testing.assert_allclose(row, np.concatenate(wanted, axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(names["statistics"][role.name], pile_shift.pile_statistics(role.read()))


@pytest.mark.parametrize("same_generator", ["false", "true"])
def test_the_figures_of_shadows_are_a_floor_for_a_target_with_more_images(images, tmp_path, same_generator):
    for i in range(1, 5):
        (images / f"dev/generated/generated_{i:04d}.png").unlink()
    ends = []
    for most in (2, 0):
        config = recipe(pile=2, target_pile=most, same_generator=same_generator, embeddings=("pixels",))
        folder = tmp_path / str(most)
        folder.mkdir()
        found = make_fleet(folder, images, list(range(ASKED)), config)
        evaluation, _ = attack(folder, found, config)
        assert (evaluation["pile_size"], evaluation["target_pile"]) == (2, most or 24)
        assert evaluation["dev"]["images"] == (most or (24 if same_generator == "true" else 20))
        two_way = evaluation["two_way"]
        ends.append([row.get("prediction_interval") for row in (two_way, *two_way["strata"])])
    for before, after in zip(*ends, strict=True):
        assert after == [before[0], 1.0] if before else after is None
    assert ends[0][0][1] < 1
