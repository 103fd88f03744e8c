"""Flags of `launch.py convert`."""

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from configs import converting
from shadow.convert.values import Rule
from shadow.errors import UserError


@pytest.fixture
def given():
    """Sets flags for one test. They are not read from a command line, on which other modules' flags may be required."""
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver():
        yield lambda **values: [setattr(flags.FLAGS, name, value) for name, value in values.items()]


def test_flags_become_a_rule(given):
    assert converting.rule() == Rule()
    given(window=["-1350", "150"], shape="pad", colour="luminance", salt="s")
    assert converting.rule() == Rule((-1350.0, 150.0), "pad", "luminance", "s")


@pytest.mark.parametrize(
    "window", [["1"], ["a", "b"], ["1", "1"], ["2", "1"], ["0", "nan"], ["0", "inf"], ["1", "2", "3"]]
)
def test_a_window_that_is_none_is_refused(given, window):
    given(window=window)
    with pytest.raises(UserError, match=f"--window={','.join(window)}: "):
        converting.rule()


def test_the_command_converts_and_says_so(given, tmp_path, capsys):
    with pytest.raises(UserError, match="--source is missing"):
        converting.convert(str(tmp_path / "out"))
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/a.npy", np.zeros((2, 8, 8), np.uint8))
    given(source=str(tmp_path / "in"))
    converting.convert(str(tmp_path / "out"))
    assert "out: 2 slices of 1 files, no patients.csv" in capsys.readouterr().out
    with pytest.raises(UserError, match="is there already"):
        converting.convert(str(tmp_path / "out"))
