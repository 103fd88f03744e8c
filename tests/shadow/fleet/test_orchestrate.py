"""The fleet from outside: planned, grown, estimated and carried out; workers are stood for by this process."""

import json
import shutil
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_fleet import KEEP, make_config, numbers, planned, times

from shadow import files, piles
from shadow import workdir as workdirs
from shadow.errors import Stopped, UserError
from shadow.fleet import Fleet, autotune, members, orchestrate, plan, progress, shadow_folder
from shadow.training import membership


@pytest.fixture
def here(monkeypatch):
    """The work of all workers is done in this process; returns what they were asked."""
    asked = []

    def run(arguments, added, show, marks, stop, began):
        asked.append((arguments, added))
        assert stop is orchestrate.worker.stopping
        show()
        marks()
        asked.fleet.work(arguments[0], began, stop)

    asked = type("Asked", (list,), {"fleet": None})()
    monkeypatch.setattr(orchestrate.local, "run", run)
    return asked


def carry_out(fleet, here, command="sample", others=()):
    here.fleet = fleet
    orchestrate.carry_out(fleet.workdir, fleet.data_root, fleet.config, command, "local", others)


def test_a_plan_is_made_of_the_data(fleet, data):
    rows = np.load(fleet.workdir / "membership.npy")
    assert rows.shape == (6, 12)
    groups = [f"d{i + 1:04d}" for i in range(12)]  # noise: no two images belong together
    unit = plan.membership_in_force(fleet.workdir, fleet.config)
    assert (fleet.config.membership.unit, unit.unit, fleet.plan.unit.unit) == ("auto", "image", "image")
    assert np.array_equal(rows, membership.draw(groups, 6, unit, fleet.config.seed))
    assert [pack.shadows for pack in fleet.plan.packs] == [(0, 1), (2, 3), (4, 5)]
    before = times(fleet.workdir)
    orchestrate.plan(fleet.workdir, data, fleet.config)
    assert times(fleet.workdir) == before


def named(data, folder, dev, test):
    """The data with patients: a name for each of the twelve dev slices (used, then not), and of the six candidates."""
    root = shutil.copytree(data, folder)
    names = [f"{stem}_{i + 1:04d}" for stem in ("used", "not_used", "real_unknown") for i in range(6)]
    rows = [f"{name},{patient}" for name, patient in zip(names, [*dev, *test], strict=True)]
    (root / "patients.csv").write_text("\n".join(["file,patient", *rows]))
    return root


@pytest.fixture
def warned(monkeypatch):
    said = []
    monkeypatch.setattr(members.logging, "warning", lambda text, *values: said.append(text % values))
    return said


PAIRS = "aabbccddeeff"  # two slices of a patient, of one label
ACROSS = "abcdefabcdef"  # one used and one not


@pytest.mark.parametrize(
    ("dev", "test", "unit"), [(PAIRS, "uuvvww", "group"), (ACROSS, "abcdef", "image"), (ACROSS, "uuvvww", "group")]
)
def test_the_unit_is_chosen_from_the_patients_and_frozen(data, tmp_path, warned, capsys, dev, test, unit):
    fleet = planned(tmp_path / "run", named(data, tmp_path / "data", dev, test))
    assert fleet.plan.unit.unit == unit
    assert f"membership.unit = {unit}: " in capsys.readouterr().out
    assert not any("does not fit" in said for said in warned)
    manifest = (fleet.workdir / "manifest.csv").read_text()
    frozen = membership.draw(list(dev), 8, plan.membership_in_force(fleet.workdir, fleet.config), 0)
    assert np.array_equal(np.load(fleet.workdir / "membership.npy"), frozen[:6])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "_choose_unit", None)  # is not asked again
        grown = grow(fleet)
    assert (grown.plan.shadows, grown.plan.unit) == (8, fleet.plan.unit)
    assert np.array_equal(np.load(fleet.workdir / "membership.npy"), frozen)
    assert (fleet.workdir / "manifest.csv").read_text() == manifest
    lines = orchestrate.describe(fleet.workdir, fleet.data_root, grown.config)
    assert lines[1].startswith(f"unit       membership.unit = {unit}: ")


def test_a_unit_that_does_not_fit_is_kept_with_a_warning(data, tmp_path, warned):
    root = named(data, tmp_path / "data", ACROSS, "uuvvww")
    fleet = planned(tmp_path / "run", root, make_config(membership__unit="image"))
    assert fleet.plan.unit.unit == "image"
    (said,) = [line for line in warned if "does not fit" in line]
    assert said == fleet.plan.unit.warning
    assert "0% of the candidates and 100% of the dev slices" in said
    assert "membership.unit = 'group' fits better" in said


def test_an_older_plan_goes_on_with_the_older_default(data, tmp_path, warned):
    """Begun with the default of then, `mixed`, which no field of the plan names; gone on with under "auto"."""
    root = named(data, tmp_path / "data", ACROSS, "abcdef")
    fleet = planned(tmp_path / "run", root, make_config(membership__unit="mixed"))
    path = fleet.workdir / "plan.json"
    files.write_json(path, {k: v for k, v in json.loads(path.read_text()).items() if k != "unit"})
    before = np.load(fleet.workdir / "membership.npy")
    grown = grow(fleet)
    assert grown.config.membership.unit == "auto"
    assert (grown.plan.shadows, grown.plan.unit) == (8, None)
    assert np.array_equal(np.load(fleet.workdir / "membership.npy")[:6], before)
    assert orchestrate.describe(fleet.workdir, root, grown.config)[1] == "unit       membership.unit = mixed"


@pytest.mark.parametrize("unit", ["auto", "image", "group", "mixed"])
@pytest.mark.parametrize(("test", "candidates"), [("aaaaaa", False), ("uvwxyz", False), ("uvwxyz", True)])
def test_one_patient_among_the_dev_slices_is_refused_before_anything_is_written(data, tmp_path, unit, test, candidates):
    root = named(data, tmp_path / "data", "a" * 12, test)
    config = make_config(membership__unit=unit, membership__candidates=candidates)
    with pytest.raises(
        UserError, match=r"^all 12 dev images are of one patient .*\(a\).*add real slices of other patients"
    ):
        planned(tmp_path / "run", root, config)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_two_patients_are_planned(data, tmp_path, warned):
    fleet = planned(tmp_path / "run", named(data, tmp_path / "data", "ab" * 6, "abcccc"))
    assert fleet.plan.unit.unit in ("image", "mixed")


def _same_picture(root):
    shutil.copyfile(root / "dev/used/used_0002.png", root / "dev/not_used/not_used_0004.png")


def _two_patients(root):
    with (root / "patients.csv").open("a") as stream:
        stream.write("\ndev/used/used_0003.png,z")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_same_picture, r"used_0002\.png.* and .*not_used_0004\.png are the same picture, used and not used at once"),
        (_two_patients, r"patients\.csv, line 20: used_0003 is listed twice"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(data, tmp_path, spoil, said):
    root = named(data, tmp_path / "data", ACROSS, "abcdef")
    spoil(root)
    with pytest.raises(UserError, match=said):
        planned(tmp_path / "run", root)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def grow(fleet, shadows=8, **fields):
    config = make_config(fleet__shadows=shadows, **fields)
    workdirs.settle(fleet.workdir, config)
    orchestrate.plan(fleet.workdir, fleet.data_root, config)
    return Fleet(fleet.workdir, fleet.data_root, config)


def test_a_fleet_grows(fleet):
    assert fleet.run(2, "train")
    before, rows = times(fleet.workdir / "shadows"), np.load(fleet.workdir / "membership.npy")
    grown = grow(fleet)
    assert grown.plan.packs[:3] == fleet.plan.packs
    assert [pack.shadows for pack in grown.plan.packs[3:]] == [(6, 7)]
    more = np.load(fleet.workdir / "membership.npy")
    assert more.shape == (8, 12)
    assert np.array_equal(more[:6], rows)
    assert times(fleet.workdir / "shadows") == before
    assert grown.missing("train") == [0, 1, 3]
    with pytest.raises(UserError, match=r"fleet\.shadows = 6 is below the 8"):
        grow(fleet, 6)


def test_a_growth_that_was_cut_off_is_gone_on_with(fleet, monkeypatch):
    """Killed when membership.npy has grown and plan.json has not."""

    class Killed(Exception):
        pass

    def kill(self, path):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(plan.Plan, "write", kill)
        with pytest.raises(Killed):
            grow(fleet)
    assert len(np.load(fleet.workdir / "membership.npy")) == 8
    grown = grow(fleet)
    assert grown.plan.shadows == 8
    assert grown.plan.packs[:3] == fleet.plan.packs


def test_a_growth_on_other_membership_is_refused(fleet):
    path = fleet.workdir / "membership.npy"
    files.write_array(path, ~np.load(path))
    before = (fleet.workdir / "plan.json").read_bytes()
    with pytest.raises(UserError, match=r"membership\.npy or manifest\.csv is not what plan\.json was made from"):
        grow(fleet)
    assert (fleet.workdir / "plan.json").read_bytes() == before
    files.write_array(path, np.load(path)[:4])
    with pytest.raises(UserError, match=r"membership\.npy: does not fit the manifest: bool \[6, 12\]"):
        grow(fleet)


def test_a_growth_on_other_data_is_refused(fleet, tmp_path):
    fleet.data_root = shutil.copytree(fleet.data_root, tmp_path / "data")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(fleet.data_root / "dev/used/used_0001.png")
    with pytest.raises(UserError, match=r"used_0001\.png has changed since the manifest was written"):
        grow(fleet)


def test_a_growth_by_other_code_is_refused(fleet, monkeypatch):
    monkeypatch.setattr(plan, "versions", lambda: ("other", "code"))
    with pytest.raises(UserError, match="another version of the trainer"):
        grow(fleet)


def test_packs_are_sized_by_measurement_where_that_is_wished(data, tmp_path, monkeypatch, capsys, here):
    timings = [autotune.Timing(2, 9, 2, 100.0, 10.0), autotune.Timing(1, 1, 1, 10.0, 100.0)]
    monkeypatch.setattr(autotune, "measure", lambda workdir, config, images: timings if images == 12 else None)
    fleet = planned(tmp_path, data, make_config(fleet__pack="auto", fleet__workers=1))
    assert (fleet.plan.pack_size, fleet.plan.workers, fleet.plan.threads) == (2, 9, 2)
    assert "<- chosen" in capsys.readouterr().out
    carry_out(fleet, here, "train")
    assert len(here[0][1]) == 3  # workers: nine, but only three packs


def measured(fleet):
    return sum(f.stat().st_size for f in (fleet.workdir / "shadows").rglob("*") if f.is_file())


def test_disk_space_is_bounded_and_not_by_much(done):
    found, bound = measured(done), orchestrate.disk_bytes(done.config, range(6))
    assert found <= bound <= 3 * found, (found, bound)


def test_disk_space_of_a_real_network_is_that_of_its_numbers():
    """A network of 1.2 million parameters: four copies of 4 bytes in each of 3 checkpoints, and 250 images."""
    config = make_config(data__resolution=32, train__steps=1600, train__checkpoint_every=400, pile__steps=())
    config.denoiser.patch, config.denoiser.width, config.denoiser.depth, config.pile.count = 8, 128, 4, 250
    numbers, _ = orchestrate.parameters(config.denoiser, 32)
    wanted = 3 * 16 * numbers + 250 * 32**2
    assert 1e6 < numbers < 2e6
    assert wanted < orchestrate.disk_bytes(config, [0]) < 1.1 * wanted


def test_png_files_take_space_too(done):
    config = make_config(pile__png=True)
    more = orchestrate.disk_bytes(config, range(6)) - orchestrate.disk_bytes(done.config, range(6))
    assert more >= 6 * len(KEEP) * 6 * 4096  # shadows, piles and images, of which each fills a block of the disk


def test_a_full_disk_is_said_before_any_training(fleet, here, monkeypatch, capsys):
    need = orchestrate.disk_bytes(fleet.config, range(6))
    monkeypatch.setattr(orchestrate.shutil, "disk_usage", lambda path: SimpleNamespace(free=need - 1))
    said = rf"6 shadows take at most {orchestrate.size(need)}; {orchestrate.size(need - 1)} are free: make room in "
    with pytest.raises(UserError, match=said):
        carry_out(fleet, here)
    assert here == []
    assert not list(fleet.workdir.glob("shadows/*/*"))
    assert fleet.run(0, "train")  # what is there already needs no room
    capsys.readouterr()
    carry_out(fleet, here, "train")
    assert f"disk: 4 shadows take at most {orchestrate.size(need / 6 * 4)}" in capsys.readouterr().err


def test_what_a_pack_has_begun_needs_no_room_again(fleet, here, monkeypatch):
    asked = iter([False] * 2 + [True])
    with pytest.raises(Stopped):
        fleet.run(0, "train", stop=lambda: next(asked))
    there = measured(fleet)
    assert there > 0
    need = orchestrate.disk_bytes(fleet.config, range(6)) - there
    monkeypatch.setattr(orchestrate.shutil, "disk_usage", lambda path: SimpleNamespace(free=need - 4096))
    with pytest.raises(UserError, match="make room"):
        carry_out(fleet, here)
    monkeypatch.setattr(orchestrate.shutil, "disk_usage", lambda path: SimpleNamespace(free=need))
    orchestrate._check_disk(fleet, [0, 1, 2])


@pytest.mark.parametrize(
    ("count", "said"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (3 * 2**20, "3.0 MiB")),
        *((2**30, "1.0 GiB"), (2.5 * 2**40, "2.5 TiB"), (5000 * 2**40, "5000.0 TiB")),
    ],
)
def test_sizes_for_people(count, said):
    assert orchestrate.size(count) == said


def test_a_fleet_is_carried_out(fleet, here, done):
    carry_out(fleet, here, "train")
    assert here == [(["train", f"--workdir={fleet.workdir}"], [{}, {}])]
    assert (fleet.missing("train"), fleet.missing()) == ([], [0, 1, 2])
    carry_out(fleet, here, "train")  # nothing is missing: nobody is asked
    assert len(here) == 1
    carry_out(fleet, here, "sample", [done.workdir])
    assert fleet.missing() == []
    assert len(here) == 1  # the other run had all of it
    assert numbers(shadow_folder(fleet.workdir, 5)) == numbers(shadow_folder(done.workdir, 5))


def test_png_files_of_every_pile(fleet, here, done):
    fleet.config.pile.png = True
    carry_out(fleet, here, "sample", [done.workdir])
    for shadow in range(6):
        for step in KEEP:
            path = piles.pile_path(shadow_folder(fleet.workdir, shadow), step)
            found = sorted(path.with_suffix("").iterdir())
            assert np.array_equal(np.stack([np.asarray(Image.open(png)) for png in found]), np.load(path))
    before = times(fleet.workdir)
    carry_out(fleet, here)
    assert times(fleet.workdir) == before


def test_failures_are_counted_and_the_first_is_said(fleet, here, monkeypatch):
    def train_pack(spec, *_):
        if spec.ids != (0, 1):
            raise UserError(f"shadow {spec.ids[0]}: too hot")

    monkeypatch.setattr("shadow.fleet.packs.train.train_pack", train_pack)
    monkeypatch.setattr(Fleet, "done", lambda self, pack, command="sample": pack == 0)
    said = r"^2 of 3 packs failed: pack 1: shadow 2: too hot \(and 1 more: `launch\.py status` lists them\)$"
    with pytest.raises(UserError, match=said):
        carry_out(fleet, here, "train")


@pytest.mark.parametrize(("executor", "where"), [("local", "$"), ("slurm", "; what they said is in .*slurm/logs$")])
def test_what_is_missing_without_a_failure_is_said(fleet, monkeypatch, executor, where):
    monkeypatch.setattr(orchestrate.local, "run", lambda *_: None)
    monkeypatch.setattr(orchestrate.slurm, "run", lambda *_: None)
    with pytest.raises(UserError, match=rf"^3 packs are not done \(the first is 0\): run the same again{where}"):
        orchestrate.carry_out(fleet.workdir, fleet.data_root, fleet.config, "train", executor, ())


def test_slurm_is_asked_for_what_is_missing(fleet, monkeypatch):
    asked = []
    fleet.config.fleet.sbatch = "--mem=1G"
    assert fleet.run(1, "train")
    monkeypatch.setattr(orchestrate.slurm, "run", lambda *words: (asked.append(words[:4]), fleet.work("train", 0.0)))
    orchestrate.carry_out(fleet.workdir, fleet.data_root, fleet.config, "train", "slurm", ())
    assert asked == [(fleet.workdir, "train", [0, 2], "--mem=1G")]


def test_tensorboard_needs_its_package(fleet, here, monkeypatch):
    monkeypatch.setattr(orchestrate.importlib.util, "find_spec", lambda name: None)
    fleet.config.fleet.tensorboard = True
    with pytest.raises(UserError, match=r"fleet\.tensorboard needs a package: pip install 'shadow"):
        carry_out(fleet, here)


def test_marks_change_with_work_that_is_not_lost(fleet):
    before = orchestrate._marks(fleet)
    assert orchestrate._marks(fleet) == before
    folder = shadow_folder(fleet.workdir, 0)
    (folder / "checkpoints" / "2").mkdir(parents=True)
    trained = orchestrate._marks(fleet)
    files.write_json(folder / "piles" / ".00000002.npy.part.json", {"batches": 1})
    sampled = orchestrate._marks(fleet)
    files.write_json(folder / "piles" / ".00000002.npy.part.json", {"batches": 2})
    assert len({repr(marks) for marks in (before, trained, sampled, orchestrate._marks(fleet))}) == 4


def test_a_file_that_goes_while_marks_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"there")
    assert orchestrate._read_all([tmp_path / "gone", tmp_path / "a"]) == [b"there"]


def test_sigterm_is_a_wish_only_within(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(orchestrate.worker, "_stopping", False)
    with orchestrate.stoppable():
        assert not orchestrate.worker.stopping()
        signal.raise_signal(signal.SIGTERM)
        assert orchestrate.worker.stopping()
    assert signal.getsignal(signal.SIGTERM) == before


def test_status(fleet, done, tmp_path):
    assert orchestrate.describe(tmp_path, fleet.data_root, fleet.config) == ["plan       not yet"]
    lines = orchestrate.describe(done.workdir, done.data_root, done.config)
    why = "no two of the shadows' slices belong together, so that all units are the same"
    assert lines == [
        "plan       done (6 shadows in 3 packs, 1 threads a worker)",
        f"unit       membership.unit = image: {why}",
        "packs      3 of 3 packs done",
    ]
    assert fleet.run(0, "train")
    progress.Reporter(fleet._report_path(1)).fail("too hot")
    files.write_json(
        fleet.workdir / "slurm" / "job.json",
        {"jobs": [{"id": "1", "cluster": "", "command": "sample", "script": "x", "packs": [2]}]},
    )
    before = times(fleet.workdir)
    lines = orchestrate.describe(fleet.workdir, fleet.data_root, fleet.config)
    assert lines[2:] == [
        "packs      0 of 3 packs done, 1 failed, 2 waiting",
        "  pack 0 (shadows 0 to 1): waiting: trained, no piles yet",
        "  pack 1 (shadows 2 to 3): failed: too hot",
        "  pack 2 (shadows 4 to 5): waiting",
    ]
    assert times(fleet.workdir) == before


def test_a_challenge_is_made_by_a_worker(tmp_path, monkeypatch, capsys):
    seen = []

    def run(arguments, added, show, marks, stop, began):
        assert (arguments, len(added)) == (["challenge", f"--workdir={tmp_path}"], 1)
        assert time.time() - began < 60
        seen.append(marks())
        report = progress.Reporter(tmp_path / ".challenge.json")
        report.begin()
        show()
        report.stage("target train")(3, 10, 5.0, 0.5)
        show()
        (tmp_path / ".challenge.part/sealed/target/checkpoints/5").mkdir(parents=True)
        seen.append(marks())

    monkeypatch.setattr(orchestrate.local, "run", run)
    monkeypatch.setattr(progress, "_PLAIN_SECONDS", 0.0)
    orchestrate.make_challenge(tmp_path, make_config())
    assert seen[0] != seen[1]
    assert not (tmp_path / ".challenge.json").exists()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("challenge: 0 of 1 challenges done, 1 running; 5 images/s")
