"""Packs: done once, by one process, with the same bits whatever happened on the way."""

import hashlib
import json
import shutil
import threading
import time

import filelock
import numpy as np
import pytest
from PIL import Image
from tiny_fleet import KEEP, STEPS, collect, flip, held, make_config, numbers, piles_of, planned, rows, times

from shadow import files, fleet, piles
from shadow.errors import Stopped, UserError
from shadow.fleet import Fleet, orchestrate, packs, plan, progress, shadow_folder
from shadow.training import checkpoint, train

# tensorstore's threads still report to the loop that orbax closed on the first error
damaged = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def same(a, b, shadows):
    """Have two fleets made the same of these shadows?"""
    for shadow in shadows:
        mine, theirs = (shadow_folder(f.workdir, shadow) for f in (a, b))
        assert piles_of(mine) == piles_of(theirs)
        assert rows(mine) == rows(theirs)
        ours, known = numbers(mine), numbers(theirs)
        assert {*ours} >= {*KEEP}
        for step in ours.keys() & known.keys():
            assert ours[step] == known[step]


def states(fleet, command="sample", probe=True):
    return [state.state for state in fleet.states(command, probe)]


def test_a_pack_is_done_once(fleet, monkeypatch):
    assert states(fleet) == ["waiting"] * 3
    assert fleet.run(1, "train")
    assert (fleet.done(1, "train"), fleet.done(1)) == (True, False)
    assert (states(fleet, "train"), states(fleet)) == (
        ["waiting", "done", "waiting"],
        ["waiting"] * 3,
    )
    assert fleet.states()[1].line == "waiting: trained, no piles yet"
    before = times(fleet.workdir)
    assert fleet.run(1, "train")
    assert times(fleet.workdir) == before
    assert fleet.run(1, "sample")
    assert fleet.done(1)
    assert (states(fleet), fleet.missing(), fleet.missing("train")) == (["waiting", "done", "waiting"], [0, 2], [0, 2])
    assert sorted(p.name for p in (fleet.workdir / "shadows").iterdir()) == ["0002", "0003"]  # no lock, no report

    before = times(fleet.workdir)
    monkeypatch.setattr(packs.train, "train_pack", None)
    monkeypatch.setattr(packs.manifests, "read", None)
    again = Fleet(fleet.workdir, fleet.data_root, fleet.config)
    assert again.run(1, "sample")
    assert again.run(1, "train")
    assert times(fleet.workdir) == before


def test_results_tell_what_was_made(done):
    rows = np.load(done.workdir / "membership.npy")
    for shadow in range(6):
        folder = shadow_folder(done.workdir, shadow)
        result = json.loads((folder / "result.json").read_text())
        assert (result["members"], result["steps"]) == (rows[shadow].sum(), STEPS)
        assert result["key"] == done.plan.packs[shadow // 2].key
        assert result["pile_key"] == plan.pile_key(done.plan, done.config, result["key"])
        assert result["made_with"]["numpy"] == np.__version__
        assert result["piles"].keys() == {str(step) for step in KEEP}
        for step, wanted in result["piles"].items():
            path = folder / "piles" / f"{int(step):08d}.npy"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == wanted
            assert np.load(path).shape == (6, 8, 8)
        assert result["checkpoints"].keys() == {p.name for p in (folder / "checkpoints").iterdir()}
        for step, wanted in result["checkpoints"].items():
            root, whole = folder / "checkpoints" / step, b""
            for path in sorted(path for path in root.rglob("*") if path.is_file()):
                content = path.read_bytes()
                whole += f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content
            assert hashlib.sha256(whole).hexdigest() == wanted
    assert fleet.present(done.workdir, done.config) == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def copy(done, tmp_path):
    """The finished fleet, to be spoilt."""
    shutil.copytree(done.workdir, tmp_path / "copy")
    return Fleet(tmp_path / "copy", done.data_root, done.config)


def test_piles_that_are_not_those_of_their_result_are_named(copy):
    fleet.verify_piles(copy.workdir, range(6))
    path = piles.pile_path(shadow_folder(copy.workdir, 4), 4)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    fleet.verify_piles(copy.workdir, [0, 1, 2, 3, 5])
    with pytest.raises(UserError, match=f"{path} has changed since it was drawn: remove it"):
        fleet.verify_piles(copy.workdir, range(6))
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing: remove it"):
        fleet.verify_piles(copy.workdir, range(6))
    (path.parents[1] / "result.json").unlink()  # as the line says
    assert copy.missing() == [2]
    assert fleet.present(copy.workdir, copy.config) == [0, 1, 2, 3, 5]
    assert copy.run(2, "sample")
    fleet.verify_piles(copy.workdir, range(6))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"piles": 1}', '{"piles": {}, "checkpoints": {}, "key": "a"}'])
def test_a_damaged_result_is_named(copy, content):
    path = shadow_folder(copy.workdir, 1) / "result.json"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: damaged"):
        fleet.verify_piles(copy.workdir, range(6))


@pytest.mark.parametrize("pack", [-1, 3])
def test_a_pack_that_is_not_in_the_plan(fleet, pack):
    with pytest.raises(UserError, match=rf"--pack={pack}: the plan has packs 0 to 2"):
        fleet.run(pack, "train")


def test_a_folder_trained_for_another_plan_is_not_gone_on_with(fleet, data, tmp_path):
    """As where plan.json was removed and planned anew with another seed."""
    assert fleet.run(0, "train")
    other = planned(tmp_path / "other", data, make_config(seed=5))
    for name in ("plan.json", "membership.npy"):
        shutil.copyfile(other.workdir / name, fleet.workdir / name)
    mixed = Fleet(fleet.workdir, fleet.data_root, make_config(seed=5))
    with pytest.raises(UserError, match="0000 was trained for another plan"):
        mixed.run(0, "sample")
    (shadow_folder(fleet.workdir, 0) / "key.json").unlink()
    with pytest.raises(UserError, match="0000 was trained for another plan"):
        mixed.run(0, "sample")


def test_a_result_of_other_piles_or_a_damaged_one_is_none(done, tmp_path):
    copy = Fleet(shutil.copytree(done.workdir, tmp_path / "run"), done.data_root, done.config)
    assert copy.missing() == []
    assert Fleet(copy.workdir, done.data_root, make_config(pile__count=7)).missing() == [0, 1, 2]
    (shadow_folder(copy.workdir, 3) / "result.json").write_text("{")
    assert copy.missing() == [1]
    assert fleet.present(copy.workdir, copy.config) == [0, 1, 2, 4, 5]


def test_a_stopped_pack_goes_on_to_the_same_bits(fleet, done):
    asked = iter([False] * 2 + [True])
    with pytest.raises(Stopped, match=f"step 5 of {STEPS}"):
        fleet.run(0, "train", stop=lambda: next(asked))
    stopped = fleet.states("train")[0]
    assert (stopped.state, stopped.done, stopped.total) == ("stopped", 5, STEPS)
    assert stopped.share == 5 / STEPS
    first = piles.pile_path(shadow_folder(fleet.workdir, 0), KEEP[0])
    with pytest.raises(Stopped, match="image 4 of 6"):
        fleet.run(0, "sample", stop=first.exists)  # in the midst of the second pile
    assert fleet.run(0, "sample")
    same(fleet, done, (0, 1))


def test_shares_count_passes_through_the_network(fleet, monkeypatch):
    """A step of training is three passes of each of 2 images, a generated image 2: 48 and 3 * 12 in all."""
    shares = []

    def look(stage):
        def show(done, total, rate, loss=None):
            shares.append((stage, done, round(fleet._share(0, stage, done, "sample") * 84)))

        return show

    monkeypatch.setattr(progress.Reporter, "stage", lambda self, stage: look(stage))
    assert fleet.run(0, "sample")
    assert shares[:4] == [("train", 2, 12), ("train", 4, 24), ("train", 6, 36), ("train", 8, 48)]
    drawn = [("sample 2", 4, 56), ("sample 2", 6, 60), ("sample 4", 4, 68), ("sample 4", 6, 72)]
    assert shares[4:] == [*drawn, ("sample 8", 4, 80), ("sample 8", 6, 84)]
    assert fleet._share(0, "starting", 0, "sample") == 0


def ruined(monkeypatch, ids):
    """The loss of these shadows is not finite."""
    real = train.make_step

    def make(spec, network):
        step = real(spec, network)

        def ruin(state, images):
            state, loss, norm = step(state, images)
            return state, loss * np.nan if spec.ids == ids else loss, norm

        return ruin

    monkeypatch.setattr(train, "make_step", make)


def test_the_others_go_on_where_one_fails(fleet, monkeypatch):
    ruined(monkeypatch, (2, 3))
    before = time.time()
    fleet.work("train", before)
    assert states(fleet, "train") == ["done", "failed", "done"]
    said = "shadow 2: the loss is not finite at step 2; lower train.learning_rate"
    assert fleet.failed_since(1, before).startswith(said)
    assert fleet.states("train")[1].reason.startswith(said)
    assert fleet.failed_since(1, time.time()) == ""
    assert fleet.failed_since(0, before) == ""

    monkeypatch.undo()
    fleet.work("train", before)  # it has failed since then, and is not tried again
    assert states(fleet, "train") == ["done", "failed", "done"]
    fleet.work("train", time.time())
    assert states(fleet, "train") == ["done"] * 3
    assert fleet.failed_since(1, before) == ""


def test_a_defect_of_ours_is_noted_and_raised(fleet, monkeypatch):
    def defect(*_):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(packs.train, "train_pack", defect)
    with pytest.raises(ZeroDivisionError):
        fleet.work("train", 0.0)
    assert fleet.failed_since(0, 0.0) == "ZeroDivisionError: of ours"
    with fleet.lock(0, 0).acquire():  # though the error, and with it the frame, is still there
        pass


def test_states(fleet, monkeypatch):
    def report(pack):
        return progress.Reporter(fleet._report_path(pack))

    shadow_folder(fleet.workdir, 0).mkdir(parents=True)
    lock = fleet.lock(0, 0)
    with held(lock.lock_file):
        assert states(fleet) == ["waiting"] * 3
        report(0).begin()
        assert states(fleet) == ["running", "waiting", "waiting"]
        report(0).stage("train")(6, 8, 12.5, 0.25)
        running = fleet.states(probe=True)[0]
        assert (running.stage, running.done, running.total, running.rate, running.loss) == ("train", 6, 8, 12.5, 0.25)
        assert running.share == 36 / 84
        assert running.name == "pack 0 (shadows 0 to 1)"
        assert "train, 6 of 8, loss 0.2500, 12 images/s, " in running.line
    assert states(fleet) == ["waiting"] * 3  # whoever wrote that is gone
    assert states(fleet, probe=False)[0] == "running"
    for folder in fleet.folders(0):
        (folder / "checkpoints" / "4").mkdir(parents=True)
    assert states(fleet) == ["stopped", "waiting", "waiting"]
    assert fleet.states(probe=True)[0].line == "stopped: train, 4 of 8"
    report(0).fail("it   broke\n twice")
    assert fleet.states()[0].line == "failed: it broke twice"
    for folder in fleet.folders(0):
        (folder / "result.json").touch()
    assert states(fleet) == ["failed", "waiting", "waiting"]  # an empty result.json is none


def test_a_pack_held_by_another_is_left_to_it(fleet):
    with held(fleet.lock(1, 0).lock_file):
        began = time.monotonic()
        assert fleet.run(1, "train", patience=0.2) is False
        assert 0.2 <= time.monotonic() - began < 5
        assert not shadow_folder(fleet.workdir, 2).exists()


def test_a_pack_is_waited_for_and_taken_up_when_its_holder_dies(fleet, done):
    with held(fleet.lock(0, 0).lock_file) as holder:
        worker = threading.Thread(target=fleet.work, args=("sample", time.time()))
        worker.start()
        try:
            deadline = time.monotonic() + 60
            while fleet.missing() != [0]:  # the others first
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(1)
            assert worker.is_alive()
            assert not shadow_folder(fleet.workdir, 0).exists()
        finally:
            holder.kill()
            worker.join(60)
    assert not worker.is_alive()
    assert fleet.missing() == []
    same(fleet, done, range(6))


def test_a_pack_that_another_did_meanwhile_is_not_done_again(fleet, done, monkeypatch):
    """It is done when the lock is got at last."""

    class Slow(filelock.FileLock):
        def acquire(self, *arguments, **options):
            shutil.copytree(done.workdir / "shadows", fleet.workdir / "shadows", dirs_exist_ok=True)
            return super().acquire(*arguments, **options)

    monkeypatch.setattr(packs.filelock, "FileLock", Slow)
    monkeypatch.setattr(packs.train, "train_pack", None)
    assert fleet.run(1, "sample")


def test_work_stops_between_two_packs(fleet):
    with pytest.raises(Stopped):
        fleet.work("train", time.time(), stop=lambda: fleet.missing("train") != [0, 1, 2])
    assert fleet.missing("train") == [1, 2]


def swap(fleet):
    rows = np.load(fleet.workdir / "membership.npy")
    for row in (2, 3):  # one member more, one less
        rows[row, [np.argmax(rows[row]), np.argmin(rows[row])]] ^= True
    files.write_array(fleet.workdir / "membership.npy", rows)


def other_hash(fleet):
    path, image = fleet.workdir / "manifest.csv", fleet.data_root / "dev/used/used_0003.png"
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(image)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for line in lines:
        if line[0] == "used_0003":
            line[-1] = hashlib.sha256(image.read_bytes()).hexdigest()
    path.write_text("".join(",".join(line) + "\n" for line in lines))


def other_shape(fleet):
    files.write_array(fleet.workdir / "membership.npy", np.ones((6, 9), bool))


def no_membership(fleet):
    (fleet.workdir / "membership.npy").unlink()


def other_image(fleet):
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(fleet.data_root / "dev/used/used_0003.png")


CHANGES = {
    swap: r"membership\.npy or manifest\.csv is not what plan\.json was made from",
    other_hash: r"membership\.npy or manifest\.csv is not what plan\.json was made from",
    other_shape: r"membership\.npy: does not fit the manifest: bool \[6, 12\] is wanted, this is bool \[6, 9\]",
    no_membership: r"membership\.npy: no readable membership matrix",
    other_image: r"used_0003\.png has changed since the manifest was written",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_other_data_than_planned_are_refused_before_any_training(fleet, tmp_path, change):
    fleet.data_root = shutil.copytree(fleet.data_root, tmp_path / "data")
    change(fleet)
    with pytest.raises(UserError, match=CHANGES[change]):
        fleet.run(1, "train")
    assert not list(fleet.workdir.glob("shadows/*/*"))
    fleet.work("train", 0.0)
    assert states(fleet)[1] == "failed"


def test_shadows_of_another_version_are_refused_only_where_there_is_work(fleet, done, monkeypatch):
    monkeypatch.setattr(plan, "versions", lambda: ("other", "code"))
    assert done.run(0, "sample")
    orchestrate.plan(done.workdir, done.data_root, done.config)
    with pytest.raises(UserError, match=r"begun by another version of the trainer \(\w+/\w+, this is other/code\)"):
        fleet.run(0, "train")
    assert not shadow_folder(fleet.workdir, 0).exists()
    assert fleet.failed_since(0, 0.0)


@damaged
def test_a_damaged_newest_checkpoint_is_named_and_made_again(fleet, done, monkeypatch):
    warned = []
    monkeypatch.setattr(checkpoint.logging, "warning", lambda text, *values: warned.append(text % values))
    assert fleet.run(0, "train")
    path = shadow_folder(fleet.workdir, 1) / "checkpoints" / str(STEPS)
    flip(path)
    assert fleet.run(0, "sample")
    assert len(warned) == 1
    assert warned[0].startswith(f"{path} is damaged (its numbers are not those that were written): ")
    assert warned[0].endswith("goes on from step 6")
    same(fleet, done, (0, 1))
    collect()


@damaged
def test_a_damaged_checkpoint_between_is_found_when_its_pile_is_drawn(fleet, done, monkeypatch):
    warned = []
    monkeypatch.setattr(checkpoint.logging, "warning", lambda text, *values: warned.append(text % values))
    assert fleet.run(0, "train")
    for file in (shadow_folder(fleet.workdir, 0) / "checkpoints" / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:20])
    assert fleet.run(0, "sample")
    assert [line.partition(" is damaged")[0] for line in warned] == [f"{fleet.folders(0)[0]}/checkpoints/4"]
    assert warned[0].endswith("goes on from step 2")
    same(fleet, done, (0, 1))
    collect()


@damaged
def test_a_damaged_checkpoint_without_an_older_one_is_left_there(fleet):
    assert fleet.run(0, "train")
    path = shadow_folder(fleet.workdir, 0) / "checkpoints" / "2"
    flip(path)
    with pytest.raises(checkpoint.DamagedError, match=f"{path}: damaged checkpoint .*remove this folder"):
        fleet.run(0, "sample")
    assert path.is_dir()
    assert states(fleet)[0] == "failed"
    shutil.rmtree(path)  # as the line says
    assert fleet.run(0, "sample")
    collect()


def test_the_last_pack_may_not_be_full(done, data, tmp_path):
    """Shadows 4 and 5 of a fleet in packs of four are a pack of two, and so are those of the other fleet."""
    fleet = planned(tmp_path / "run", data, make_config(fleet__pack=4))
    assert [[folder.name for folder in fleet.folders(pack)] for pack in range(2)][1] == ["0004", "0005"]
    assert fleet.run(1, "sample")
    same(fleet, done, (4, 5))


def test_names_of_packs(data, tmp_path):
    lonely = planned(tmp_path / "run", data, make_config(fleet__pack=1))
    assert [state.name for state in lonely.states()] == [f"shadow {k}" for k in range(6)]
