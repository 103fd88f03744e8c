"""How packs are sized by measurement."""

import os
import time

import pytest
from tiny_fleet import make_config

from shadow import workdir as workdirs
from shadow.config import Config, DenoiserConfig, FamilyConfig, UNet2DConfig
from shadow.errors import UserError
from shadow.fleet import autotune
from shadow.fleet.autotune import Timing


@pytest.mark.parametrize(
    ("shadows", "pack", "workers", "rate", "seconds"),
    [
        (8, 4, 2, 100.0, 2.0),  # 8 shadows of 25 images in one round
        (8, 8, 1, 100.0, 2.0),
        (8, 8, 2, 100.0, 4.0),  # one of the two has nothing to do, and the rate is that of both
        (10, 4, 2, 100.0, 4.0),  # 3 packs in 2 rounds
        (6, 16, 1, 50.0, 3.0),  # a pack larger than the fleet
        (8, 1, 3, 75.0, 3.0),  # 3 rounds of 3
    ],
)
def test_time_of_a_fleet(shadows, pack, workers, rate, seconds):
    config = make_config(fleet__shadows=shadows, train__steps=5, train__batch_size=5)
    assert autotune.fleet_seconds(config, pack, workers, rate) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("shadows", "kind", "sizes"),
    [
        (6, "dit", [1, 2, 4]),
        (8, "dit", [1, 2, 4, 8]),
        (1000, "dit", [1, 2, 4, 8, 16, 32, 64]),
        (1000, "unet2d", [1]),
    ],
)
def test_candidates(shadows, kind, sizes):
    assert autotune.candidates(make_config(fleet__shadows=shadows, denoiser__kind=kind)) == sizes


def test_the_table_tells_the_choice():
    lines = autotune.describe([Timing(8, 1, 2, 1234.5, 100.0), Timing(1, 2, 1, 99.4, 7200.0)]).splitlines()
    assert lines[0].split() == ["pack", "workers", "threads", "images/s", "fleet"]
    assert lines[1].split() == ["8", "1", "2", "1,234", "2", "min", "<-", "chosen"]
    assert lines[2].split() == ["1", "2", "1", "99", "2", "h", "00", "min"]


def test_the_rate_counts_all_images_of_a_pack(monkeypatch):
    """A step that takes 10 ms: 2 images of each of 3 shadows in it are 600 a second at most."""
    seen = []

    def make_step(spec, network):
        assert (spec.ids, spec.images.shape, spec.devices) == ((0, 1, 2), (12, 8, 8), 1)
        assert [len(members) for members in spec.members] == [6, 6, 6]

        def step(state, images):
            time.sleep(0.01)
            seen.append(images.shape)
            return state, state.step, state.step

        return step

    monkeypatch.setattr(autotune.train, "make_step", make_step)
    rate = autotune.rate(make_config(), 3, 12, seconds=0.3)
    assert 300 < rate <= 600
    assert len(seen) >= 10


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    workdirs.settle(tmp_path, make_config(fleet__pack="auto"))
    monkeypatch.setattr(autotune, "_SECONDS", 0.05)
    return tmp_path


@pytest.mark.slow
def test_measured_in_a_process_of_its_own(workdir, monkeypatch):
    monkeypatch.setattr(autotune.os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(autotune, "candidates", lambda config: [2])
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    config = make_config()
    (timing,) = autotune.measure(workdir, config, 12)
    assert (timing.pack, timing.workers, timing.threads) == (2, 1, 1)
    assert timing.rate > 0
    assert timing.seconds == pytest.approx(autotune.fleet_seconds(config, 2, 1, timing.rate))


def test_all_ways_to_share_the_cores_and_the_best_first(workdir, monkeypatch):
    """Of 5 cores: 5 workers, 2 of two threads, and 1 of four. Larger packs are faster here, and so are more threads."""
    monkeypatch.setattr(autotune.os, "sched_getaffinity", lambda _: set(range(5)), raising=False)

    def start(question, environment):
        folder, threads, images, sizes, seconds, family = autotune.json.loads(question)
        assert (folder, images, sizes, seconds, family, environment) == (str(workdir), 12, [1, 2, 4], 0.05, 0, {})
        return Process(autotune.json.dumps({str(size): size * 10.0 * threads**2 for size in sizes}))

    monkeypatch.setattr(autotune, "_start", start)
    config = make_config(fleet__shadows=6)
    found = autotune.measure(workdir, config, 12)
    layouts = ((5, 1), (2, 2), (1, 4))
    assert {(t.pack, t.workers, t.threads) for t in found} == {(p, w, t) for p in (1, 2, 4) for w, t in layouts}
    assert [t.seconds for t in found] == sorted(t.seconds for t in found)
    for t in found:
        assert t.rate == pytest.approx(t.pack * 10 * t.threads**2 * t.workers)
        assert t.seconds == pytest.approx(autotune.fleet_seconds(config, t.pack, t.workers, t.rate))
    # 2 rounds of 4 shadows of 16 images at 640/s
    assert (found[0].pack, found[0].threads, found[0].seconds) == (4, 4, pytest.approx(0.2))


def test_a_pack_that_does_not_fit_into_memory_is_left_out(monkeypatch, capsys, workdir):
    def rate(config, pack, images, seconds):
        assert (images, seconds) == (12, 0.05)
        if pack > 2:
            raise autotune.jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return 10.0 * pack

    monkeypatch.setattr(autotune, "rate", rate)
    monkeypatch.setenv("NPROC", "1")
    autotune.answer(autotune.json.dumps([str(workdir), 3, 12, [1, 2, 4, 8], 0.05, 0]))
    said = capsys.readouterr()
    assert [autotune.json.loads(line) for line in said.out.splitlines()] == [{"1": 10.0}, {"2": 20.0}]
    assert said.err == "a pack of 4 does not fit into memory\n"
    assert os.environ["NPROC"] == "3"

    def other(*_):
        raise autotune.jax.errors.JaxRuntimeError("INTERNAL: a defect")

    monkeypatch.setattr(autotune, "rate", other)
    with pytest.raises(autotune.jax.errors.JaxRuntimeError):
        autotune.answer(autotune.json.dumps([str(workdir), 3, 12, [1], 0.05, 0]))


class Process:
    """Stands for one that measures: it answers, or fails."""

    def __init__(self, out):
        self.out, self.returncode, self.killed = out, None, False

    def communicate(self):
        self.returncode = 1 if self.out is None else 0
        return f"noise\n{self.out}\n", None

    def kill(self):
        self.killed = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.killed


def answers(monkeypatch, *outs):
    made = [Process(out) for out in outs]
    queue = iter(made)
    monkeypatch.setattr(autotune, "_start", lambda question, environment: next(queue))
    return made


def test_on_accelerators_a_worker_each_and_the_rates_are_summed(workdir, monkeypatch):
    monkeypatch.setattr(autotune.local, "accelerators", lambda: ["0", "1"])
    made = answers(monkeypatch, '{"1": 10, "2": 30}', '{"1": 20}')  # the second has less memory
    config = make_config(fleet__threads=5)
    (found,) = autotune.measure(workdir, config, 12)
    assert (found.pack, found.workers, found.threads) == (1, 2, 5)
    assert (found.rate, found.seconds) == pytest.approx((30.0, autotune.fleet_seconds(config, 1, 2, 30.0)))
    assert all(process.killed for process in made)


def test_where_nothing_fits_and_where_measuring_fails(workdir, monkeypatch):
    monkeypatch.setattr(autotune.local, "accelerators", lambda: ["0", "1"])
    answers(monkeypatch, "{}", "{}")
    with pytest.raises(UserError, match=r"fleet\.pack = auto: not even one shadow can be trained here"):
        autotune.measure(workdir, make_config(), 12)
    made = answers(monkeypatch, None, '{"1": 10}')
    with pytest.raises(UserError, match=r"fleet\.pack = auto: the measurement failed .*give a number"):
        autotune.measure(workdir, make_config(), 12)
    assert all(process.killed for process in made)  # none is left behind


def three_families():
    """Twelve shadows in blocks of four: two transformers and a convolutional network, of 4, 8 and 2 images a step."""
    config = make_config(fleet__shadows=12, membership__block=4, train__steps=5, fleet__pack="auto")
    config.denoiser, config.train.batch_size = DenoiserConfig(), Config().train.batch_size
    dit = DenoiserConfig(patch=4, width=8, depth=1, heads=2)
    unet = DenoiserConfig(kind="unet2d", unet=UNet2DConfig(block_out_channels=(4,), norm_num_groups=2))
    config.fleet.families = (
        *(FamilyConfig("a", dit, 4), FamilyConfig("b", dit, 8)),
        FamilyConfig("c", unet, 2),
    )
    return config


def test_packs_of_families_fit_into_a_block():
    config = three_families()
    assert autotune.candidates(config) == [1, 2, 4]
    config.fleet.families = config.fleet.families[2:]
    assert autotune.candidates(config) == [1]


def test_every_family_is_timed_and_one_size_is_chosen_for_all(tmp_path, monkeypatch):
    """The second family dislikes packs, but less than the first likes them; the third has none."""
    config = three_families()
    workdirs.settle(tmp_path, config)
    monkeypatch.setattr(autotune.os, "sched_getaffinity", lambda _: {0}, raising=False)
    rates = [{1: 10.0, 2: 20.0, 4: 40.0}, {1: 80.0, 2: 70.0, 4: 60.0}, {1: 5.0}]
    asked = []

    def start(question, environment):
        _, _, _, sizes, _, family = autotune.json.loads(question)
        asked.append((family, sizes))
        return Process(autotune.json.dumps({size: rates[family][size] for size in sizes}))

    monkeypatch.setattr(autotune, "_start", start)
    found = autotune.measure(tmp_path, config, 12)
    assert asked == [(0, [1, 2, 4]), (1, [1, 2, 4]), (2, [1])]
    # 4 shadows of each family take 5 steps of 4, 8 and 2 images: 80, 160 and 40 images
    seconds = {1: 80 / 10 + 160 / 80 + 40 / 5, 2: 80 / 20 + 160 / 70 + 8, 4: 80 / 40 + 160 / 60 + 8}
    assert [t.pack for t in found] == [4, 2, 1]
    for t in found:
        assert t.seconds == pytest.approx(seconds[t.pack])
        assert t.rate == pytest.approx(280 / seconds[t.pack])


def test_a_process_times_the_network_of_the_family(tmp_path, monkeypatch, capsys):
    config = three_families()
    workdirs.settle(tmp_path, config)
    monkeypatch.setenv("NPROC", "1")

    def rate(own, pack, images, seconds):
        return 100.0 * own.train.batch_size + (own.denoiser.kind == "unet2d")

    monkeypatch.setattr(autotune, "rate", rate)
    for family, wanted in enumerate((400.0, 800.0, 201.0)):
        autotune.answer(autotune.json.dumps([str(tmp_path), 1, 12, [1], 0.05, family]))
        assert autotune.json.loads(capsys.readouterr().out) == {"1": wanted}
