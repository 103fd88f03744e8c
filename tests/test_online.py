"""Shadows that are trained on test candidates too: who is in which, and that no candidate is its own reference."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from naive_expectation import held_out, means
from recipes import tiny as tiny_recipe
from tiny_run import fails, leftovers

from attack.compare import blackbox, subjects
from attack.compare.piles import yard
from attack.compare.subjects import resolve
from attack.decision import predicting
from attack.evidence import layout, measuring
from attack.inference import crossfit, fitting, reference_choice, store, target
from shadow import fleet, piles, workdir
from shadow.config import CompareConfig
from shadow.data import manifest
from shadow.errors import UserError
from shadow.fleet import orchestrate, plan
from shadow.fleet.packs import Fleet
from shadow.validate import validate

ONLINE = "--config.membership.candidates=true"


def recipe(online=True, **attack):
    config = tiny_recipe.get_config()
    config.membership.candidates, config.fleet.shadows, config.membership.unit = online, 16, "image"
    config.attack.embeddings, config.attack.redraws = ("pixels",), 1
    for name, value in attack.items():
        setattr(config.attack, name, value)
    return config


def planned(folder, images, config):
    folder.mkdir()
    orchestrate.plan(folder, images, config)
    return manifest.read(folder / "manifest.csv", images), np.load(folder / "membership.npy")


def attacked(folder, images, config, copy, used):
    """The evidence of shadows whose piles hold copies of all their members, of which noise leaves the share `copy`; the
    target's pile holds copies of the images `used`. Nothing is trained."""
    found, member = planned(folder, images, config)
    names = [*fleet.dev_ids(found), *found.id[found.rows("unknown")].tolist()]
    real, rng = found.images_at(names, config.data.resolution), np.random.default_rng(1)

    def draw(chosen, count):
        noisy = real[np.resize(chosen, count)] * copy + rng.integers(0, 256, (count, 8, 8)) * (1 - copy)
        return np.clip(noisy, 0, 255).astype(np.uint8)

    for k in range(16):
        path = piles.pile_path(fleet.shadow_folder(folder, k), config.train.steps)
        path.parent.mkdir(parents=True)
        np.save(path, draw(np.flatnonzero(member[k]), 20))
    made = {role: draw([names.index(name) for name in used], 24) for role in layout.TARGETS}
    plain = measuring.pile_of_target

    def of_target(manifest, config, role, count):
        return made[role][:count] if role in made else plain(manifest, config, role, count)

    measuring.pile_of_target = of_target
    try:
        measuring.build(folder, found, config, range(16))
    finally:
        measuring.pile_of_target = plain
    return found


def test_candidates_are_drawn_like_dev_slices(images, tmp_path):
    config = recipe()
    found, member = planned(tmp_path / "run", images, config)
    assert member.shape == (16, 24)
    for block in (member[:8], member[8:]):
        assert (block.sum(0) == 4).all()
        assert np.ptp(block.sum(1)) <= 1
    ids = plan.pool_ids(found, config)
    assert ids[:16] == fleet.dev_ids(found)
    assert ids[16:] == found.id[found.rows("unknown")].tolist()
    trained = Fleet(tmp_path / "run", images, config)
    np.testing.assert_allclose(trained._images, found.images_at(ids, 8) / 127.5 - 1, atol=1e-6)
    for pack in trained.plan.packs:
        for k, mine in zip(pack.shadows, trained._spec(pack).members, strict=True):
            np.testing.assert_array_equal(np.sort(mine), np.flatnonzero(member[k]))


def test_the_candidates_are_in_the_key_where_shadows_hold_them(images, tmp_path):
    keys = []
    for i, online in enumerate((False, True)):
        config = recipe(online)
        found, member = planned(tmp_path / str(i), images, config)
        frozen = plan.read_plan(tmp_path / str(i) / "plan.json")
        keys.append([pack.key for pack in frozen.packs])
        changed = found.sha256.copy()
        changed[found.rows("unknown")[0]] = "0" * 64
        other = type(found)(**{**vars(found), "sha256": changed})
        assert (plan.training_key(frozen, config, other, member, frozen.packs[0].shadows) != keys[-1][0]) == online
    assert not set(keys[0]) & set(keys[1])


@pytest.mark.parametrize("recalibrate", ["none", "dev"])
def test_planted_candidates_are_found_and_never_their_own_reference(images, tmp_path, recalibrate):
    config = recipe(recalibrate=recalibrate)
    validate(config)
    used = [*(f"used_{i + 1:04d}" for i in range(8)), *(f"real_unknown_{i + 1:04d}" for i in range(0, 8, 2))]
    found = attacked(tmp_path / "run", images, config, 0.9, used)
    folder = tmp_path / "run"
    for stage in (fitting.fit, predicting.predict):
        stage(folder, found, config)
    with (folder / "predictions.csv").open(newline="") as stream:
        score = {row["id"]: float(row["score"]) for row in csv.DictReader(stream)}
    inside = [value for name, value in score.items() if name in used]
    assert len(score) == 8
    assert min(inside) > max(value for name, value in score.items() if name not in used)
    evaluation = json.loads((folder / "attack/evaluation.json").read_text())
    assert evaluation["dev"]["auc"] == 1
    assert evaluation["two_way"]["pairs"] == 16 * 24
    assert evaluation["null"] == {"known": 8, "unknown": 0, "presumed": False}

    data, member = store.read(folder, found, config), np.load(folder / "membership.npy")
    asked = data.target("generated_test", config.train.steps)
    np.testing.assert_array_equal(asked.shadow_signals.member, member[:, 16:])
    order = reference_choice.priorities(asked.ids, 16, 0, 0)
    for i, references in enumerate(reference_choice.choose_references(asked.shadow_signals, order, 6)):
        assert not member[references, 16 + i].any()
    shown = data.layout.signals(data.values[data.piles.index("generated_test")])
    np.testing.assert_array_equal(asked.pile_pool, shown)
    np.testing.assert_array_equal(asked.pile_candidates, shown[16:])
    few = data.target("generated_test", config.train.steps, asked.ids[3:5])
    known, options = data.labelled(config.train.steps, "generated_test"), fitting.options(config)
    fitted = target.fit_draws(known, options, 1)
    np.testing.assert_array_equal(
        target.score(known, few, fitted, options), target.score(known, asked, fitted, options)[3:5]
    )


def test_on_noise_the_memberships_of_candidates_say_nothing(images, tmp_path):
    """Shadows hold half of the candidates each, the target's pile is noise: no pair may stand out."""
    config = recipe(pile=20)
    found = attacked(tmp_path / "run", images, config, 0.0, ["used_0001"])
    fitting.fit(tmp_path / "run", found, config)
    two_way = json.loads((tmp_path / "run" / "attack/fit.json").read_text())["two_way"]
    low, high = two_way["interval"]
    assert low < 0.5 < high
    assert abs(two_way["auc"] - 0.5) < 0.1


@pytest.mark.slow
def test_a_whole_run(tiny, tmp_path):
    folder = tmp_path / "run"
    result = tiny("run", folder, ONLINE)
    assert (result.returncode, leftovers(folder)) == (0, []), result.stderr
    assert np.load(folder / "membership.npy").shape == (8, 32)
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 16
    assert all(0 <= float(row["probability_low"]) <= float(row["probability"]) <= 1 for row in rows)
    page = (folder / "report.html").read_text()
    assert "test candidates among them" in page
    assert "its candidates are among the slices of the shadows" in page
    again = tiny("run", folder)
    assert "membership.candidates" in fails(again)

    found, source = resolve(["shadows/0000", "shadows/0001"], folder, tiny_recipe.get_config())
    assert (len(source.pool), source.real[len(source.pool) :]) == (32, [])
    np.testing.assert_array_equal(found[0].member, np.load(folder / "membership.npy")[0])
    compared = tiny("compare", folder, "--checkpoints=shadows/0000,shadows/0001", "--config.compare.count=20")
    assert compared.returncode == 0, compared.stderr
    result = json.loads((folder / "compare.json").read_text())
    for one in result["checkpoints"]:
        assert one["pile"]["real"] is None
        assert len(one["blackbox"]["score"]) == 32
    assert "were drawn from all real slices" in result["space"]["no_real"]
    assert result["space"]["no_real"] in (folder / "compare.html").read_text()


def test_real_slices_that_a_compared_shadow_was_trained_on_are_left_out(images, tmp_path):
    """The run has shadows of dev slices; one of the compared is of another run, which held candidates."""
    runs = []
    for online in (False, True):
        folder, config = tmp_path / str(online), recipe(online)
        planned(folder, images, config)
        runs.append(subjects.Source(folder, config, manifest.read(folder / "manifest.csv", images), np.zeros((16, 1))))
    both = [SimpleNamespace(source=run) for run in runs]
    compare = CompareConfig()
    alone = yard(runs[0], 8, compare, None, both[:1])
    assert (len(alone.real), alone.why) == (8, "")
    np.testing.assert_array_equal(alone.real, runs[0].manifest.images_at(runs[0].real[len(runs[0].pool) :], 8))
    mixed = yard(runs[0], 8, compare, None, both)
    assert mixed.real is None
    assert "were drawn from all real slices" in mixed.why


def test_one_more_pile_is_measured_as_those_of_the_run(images, tmp_path):
    """Known images are the dev images there, whoever the shadows hold."""
    folder, config = tmp_path / "run", recipe(signals=("votes", "nearest"), pile=20)
    found = attacked(folder, images, config, 0.5, ["used_0001"])
    workdir.settle(folder, config)
    workdir.stamp(folder / "signals", "signals", config)
    shadow_signals = blackbox.SourceSignals(subjects.Source(folder, config, found, np.load(folder / "membership.npy")))
    pile = np.load(piles.pile_path(fleet.shadow_folder(folder, 0), config.train.steps))
    leak = shadow_signals.leak(pile, config.train.steps, 0)
    known = shadow_signals.store.labelled(config.train.steps, "generated_test")
    order = reference_choice.priorities(known.ids, 16, 0, 0)
    chosen = reference_choice.choose_references(known.shadow_signals, order, 7, [0])
    fold, shown = crossfit.folds(known.group, 2, 0)[known.group], means(known.shadow_signals, chosen)
    wanted = held_out(known.shadow_signals.values[0], shown, fold, np.zeros(len(fold), bool))
    assert leak.calibrated
    np.testing.assert_allclose(leak.columns, wanted, atol=1e-5)


def test_without_shadows_there_is_nobody_to_train_on_candidates():
    config = recipe()
    validate(config)
    config.fleet.shadows = 0
    with pytest.raises(UserError, match=r"membership\.candidates: only with shadows"):
        validate(config)
