"""One picture in two files: what contradicts itself is refused, all else is said once."""

from pathlib import Path

import pytest

from shadow.data import doubles, editions
from shadow.errors import UserError

LABELS = {"used": 1, "not_used": 0}


def pictures(*named):
    """(role, picture) of each file, in the order of a manifest."""
    return [
        doubles.Picture(Path(f"{role}/{i}.png"), role, LABELS.get(role, -1), pixels)
        for role in editions.ROLES
        for i, (_, pixels) in enumerate(pair for pair in named if pair[0] == role)
    ]


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(doubles.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("used", "not_used", "used and not used at once"),
        ("used", "reference", "once with its use known and once without"),
        ("not_used", "reference", "once with its use known and once without"),
        ("reference", "unknown", "must not be trained on a candidate"),
    ],
)
def test_roles_that_contradict_each_other(first, second, said):
    with pytest.raises(UserError, match=rf"{first}/0\.png and {second}/0\.png are the same picture, .*{said}"):
        doubles.check(pictures((first, "x"), (second, "x")))


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("used", "unknown", "its membership is known"),
        ("not_used", "unknown", "its membership is known"),
        ("used", "used", "shadows take them for two"),
        ("not_used", "not_used", "shadows take them for two"),
        ("reference", "reference", "shadows take them for two"),
        ("unknown", "generated_test", "look whether real slices lie in the wrong folder"),
        ("used", "generated_dev", "look whether real slices lie in the wrong folder"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_what_may_be_is_said_once(logged, first, second, said, count):
    doubles.check(pictures(*[(role, f"x{i}") for role in (first, second) for i in range(count)]))
    (line,) = logged
    assert said in line
    assert f"{first}/0.png" in line
    assert ("and 2 more such pairs" in line) == (count == 3)


def test_candidates_may_repeat_and_generated_images_too(logged):
    doubles.check(pictures(("unknown", "x"), ("unknown", "x"), ("generated_test", "y"), ("generated_test", "y")))
    assert logged == []
