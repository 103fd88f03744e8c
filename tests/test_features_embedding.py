"""`launch.py` with the embedding `features`: a block of shadows encodes, the others are attacked with."""

from __future__ import annotations

import json
import shutil

import numpy as np
from tiny_run import fails

OPTIONS = (
    "--config.membership.block=2",
    "--config.attack.embeddings=('pixels','features')",
    "--config.attack.signals=('nearest',)",
)


def test_a_run_whose_first_shadows_are_encoders(tiny, tmp_path):
    work = tmp_path / "run"
    done = tiny("run", work, *OPTIONS)
    assert done.returncode == 0, done.stderr
    names = json.loads((work / "signals/names.json").read_text())
    assert names["shadows"] == [2, 3, 4, 5, 6, 7]
    assert len(names["signals"]) == 100
    assert {name.partition("@")[2] for name in names["signals"]} == {"pixels", "features"}
    values = np.load(work / "signals/values.npy")
    assert np.isfinite(values).all()
    assert not np.allclose(values[..., :50], values[..., 50:])
    evaluation = json.loads((work / "attack/evaluation.json").read_text())
    assert (evaluation["shadows_used"], evaluation["shadows_asked"], evaluation["shadows_missing"]) == (6, 6, [])
    again = tiny("run", work, *OPTIONS)
    assert "everything is done; nothing was changed" in again.stdout

    plain = tiny("signals", work, OPTIONS[0])  # without `features` no shadow is set apart
    assert plain.returncode == 0, plain.stderr
    assert json.loads((work / "signals/names.json").read_text())["shadows"] == list(range(8))

    shutil.rmtree(work / "shadows/0001")
    said = fails(tiny("signals", work, *OPTIONS, "--config.attack.allow_missing=true"))
    assert "'features' needs shadow 1" in said
