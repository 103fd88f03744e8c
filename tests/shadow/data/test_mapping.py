"""Folders of any names, by what the user says they are."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from shadow.config import Config, from_dict
from shadow.data import manifest, mapping
from shadow.errors import UserError

ROLES = ("generated_test=piles/gan 1", "unknown=real/test*", "not_used = archive/**/*")


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    folders = {
        "piles/gan 1": 3,
        "real/test10": 1,
        "real/test9": 2,
        "archive/p1/a": 2,
        "archive/p2/b": 2,
        "sealed/test1": 1,
    }
    for name, count in folders.items():
        (tmp_path / name).mkdir(parents=True)
        for i in range(count):
            path = tmp_path / name / f"{name.split('/')[-1]}_{i}.png"
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    (tmp_path / "real/.test0").mkdir()
    return tmp_path


def test_globs_find_the_folders_of_each_role(root):
    for folder in ("archive/p1", "archive/p2"):  # a glob that is less greedy
        assert not list((root / folder).glob("*.png"))
    roles = (*ROLES[:2], "not_used = archive/*/*")
    found = mapping.find_folders(root, "own", roles)
    relative = {role: [path.relative_to(root).as_posix() for path in paths] for role, paths in found.items()}
    assert relative == {
        "generated_test": ["piles/gan 1"],
        "not_used": ["archive/p1/a", "archive/p2/b"],
        "unknown": ["real/test9", "real/test10"],
    }
    assert list(relative) == ["generated_test", "not_used", "unknown"]
    built = manifest.build(root, "own", "", 0.5, roles)
    assert built.id[built.rows("unknown")].tolist() == ["test9_0", "test9_1", "test10_0"]
    assert built.path[built.rows("not_used")].tolist()[0] == "archive/p1/a/a_0.png"
    manifest.verify(built)


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (("unknown",), "'unknown': write ROLE=GLOB, with a role of generated_test"),
        (("candidates=real/*",), "'candidates=real/.': write ROLE=GLOB"),
        (("unknown=real/*", "unknown=x"), "unknown is named twice"),
        (("unknown=nowhere/*",), "'unknown=nowhere/.': no such folder below"),
        (("unknown=sealed/*",), "no such folder below"),
        (("unknown=real/.*",), "no such folder below"),
        (("unknown=../x",), "relative to data.root"),
        (("unknown=/x",), "relative to data.root"),
        (("unknown=real/*", "generated_test=real/test9"), "real/test9 is claimed for unknown and for generated_test"),
        (("unknown=real/*",), "edition own needs generated_test too"),
    ],
)
def test_entries_that_say_nothing_are_refused(root, roles, said):
    with pytest.raises(UserError, match=rf"^data\.roles: .*{said}"):
        mapping.find_folders(root, "own", roles)


def test_without_entries_the_names_of_the_edition_count(root):
    with pytest.raises(UserError, match="no folder for the role generated_test"):
        mapping.find_folders(root, "own", ())


def test_runs_of_before_have_no_entries():
    older = json.loads(json.dumps(dataclasses.asdict(Config())))
    del older["data"]["roles"]
    assert from_dict(older) == Config()
