"""A pack that is killed or stopped ends with the bits of one that was left alone."""

import jax
import pytest
from tiny_training import Killed, equal, folders, kill_at, make, rows, saved, timeless

from shadow.errors import Stopped
from shadow.training import checkpoint, train


@pytest.mark.parametrize("kills", [(3,), (4,), (2, 4, 6)])
def test_a_killed_run_ends_with_the_same_bits(straight, tmp_path, kills):
    where = folders(tmp_path)
    for step in kills:
        with pytest.raises(Killed):
            train.train_pack(make(), where, (), kill_at(step))
    if kills == (4,):
        assert checkpoint.latest_common(where) == 3
        for folder in where:  # a kill within a write
            with (folder / "metrics.jsonl").open("a") as stream:
                stream.write('{"step": 5, "los')
    train.train_pack(make(), where, ())
    reference, whole = straight
    assert equal(jax.device_get(saved(where)), jax.device_get(whole))
    for a, b in zip(where, reference, strict=True):
        assert timeless(rows(a)) == timeless(rows(b))


@pytest.mark.parametrize("stops", [(1,), (3,), (4,), (1, 2, 4, 5)])
def test_a_stopped_run_saves_its_step_and_goes_on_to_the_same_bits(straight, tmp_path, stops):
    """Asked to stop at a step that is saved anyway, it stops at the next one."""
    where = folders(tmp_path)
    for stop in stops:
        began, asked = checkpoint.latest_common(where), []

        def wish(began=began, asked=asked, stop=stop):
            asked.append(1)
            steps = [step for step in range(began + 1, 6) if step != 3]  # those at which it is asked
            return steps[len(asked) - 1] >= stop

        with pytest.raises(Stopped, match=r"stopped at step \d of 6, which is saved"):
            train.train_pack(make(), where, (), stop=wish)
    at = checkpoint.latest_common(where)
    assert at == (4 if stops == (3,) else stops[-1])
    assert [row["step"] for row in rows(where[0])] == [step for step in (2, 3, 4) if step <= at]
    train.train_pack(make(), where, ())
    reference, whole = straight
    assert equal(jax.device_get(saved(where)), jax.device_get(whole))
    for a, b in zip(where, reference, strict=True):
        assert timeless(rows(a)) == timeless(rows(b))


def test_a_half_written_line_before_the_restored_step_is_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    train._Log(tmp_path, 2, False).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    path.write_text('{"step": 1}\n{"st')
    log = train._Log(tmp_path, 2, False)
    log.write({"step": 3})
    log.close()
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


def test_a_pack_of_which_one_lost_its_newest_checkpoint_goes_back(straight, tmp_path):
    """Killed between the checkpoints of two generators: the pack resumes from the newest that both have."""
    where = folders(tmp_path)
    with pytest.raises(Killed):
        train.train_pack(make(), where, (3,), kill_at(6))
    checkpoint.shutil.rmtree(where[1] / "checkpoints" / "6")
    assert checkpoint.latest_common(where) == 3
    train.train_pack(make(), where, (3,))
    assert equal(jax.device_get(saved(where)), jax.device_get(straight[1]))
    assert checkpoint.steps(where[0]) == checkpoint.steps(where[1]) == [3, 6]  # 3 is kept for piles


def test_a_finished_run_is_left_alone(straight, monkeypatch):
    where, _ = straight
    before = [(folder / "metrics.jsonl").stat().st_mtime_ns for folder in where]
    monkeypatch.setattr(train, "build", None)  # not even the network is made
    assert train.train_pack(make(), where, ()) is None
    assert [(folder / "metrics.jsonl").stat().st_mtime_ns for folder in where] == before
