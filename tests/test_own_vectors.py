"""Embeddings of the user's own through launch.py: images written, vectors given, the attack done again."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import fails, leftovers, snapshot

pytestmark = pytest.mark.slow

SIGNALS = "--config.attack.signals=('mosaic','nearest')"


def embed(folder, path, change=1.0):
    """What an encoder of the user's does, in the order of the csv."""
    with (folder / "images.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    pixels = np.stack([np.array(Image.open(folder / f"{row['id']}.png"), np.float32) for row in rows])
    vector = np.concatenate([pixels.mean(1), change * pixels.mean(2)], axis=1)
    np.savez(path, id=[row["id"] for row in rows], sha256=[row["sha256"] for row in rows], vector=vector)


def test_vectors_of_an_encoder_enter_the_attack(run, tiny, tmp_path):
    out, path = tmp_path / "out", tmp_path / "vectors.npz"
    before = snapshot(run / "signals")
    result = tiny("images", run, f"--to={out}")
    assert (result.returncode, result.stderr) == (0, "")
    # 32 real, 20 of each of 8 piles, and all 24 of the target's two
    assert result.stdout.startswith(f"{out}: 240 images")
    assert snapshot(run / "signals") == before
    assert leftovers(tmp_path) == []
    assert "is there already" in fails(tiny("images", run, f"--to={out}"))
    assert "--to is missing" in fails(tiny("images", run))

    given = (f"--config.attack.embeddings_from={path}", SIGNALS)
    assert "vectors.npz: cannot read this file" in fails(tiny("run", run, *given))
    embed(out, path)
    alone = "--config.attack.signals=('mosaic',)"
    assert "vectors are for the signals nearest, ratio;" in fails(tiny("run", run, given[0], alone))
    result = tiny("run", run, *given)
    assert (result.returncode, result.stderr) == (0, "")
    names = json.loads((run / "signals/names.json").read_text())
    assert "closeness.1@supplied" in names["signals"]
    assert "mosaic@supplied" not in names["signals"]
    assert "nearest@supplied" in (run / "attack/model.json").read_text()

    moved = path.with_name("moved.npz")
    shutil.move(path, moved)
    before = (run / "signals/values.npy").stat().st_mtime_ns
    given = (f"--config.attack.embeddings_from={moved}", SIGNALS)
    assert tiny("run", run, *given).returncode == 0  # the same vectors elsewhere: nothing is measured again
    assert (run / "signals/values.npy").stat().st_mtime_ns == before
    embed(out, moved, change=3.0)
    assert tiny("signals", run, *given).returncode == 0
    assert (run / "signals/values.npy").stat().st_mtime_ns > before

    np.savez(moved, id=np.array(["used_0001"]), vector=np.ones((1, 2), np.float32))
    measured = snapshot(run / "signals")
    assert "holds used_0002 not at all" in fails(tiny("signals", run, *given))
    assert {k: v for k, v in measured.items() if "done" not in k} == snapshot(run / "signals")
