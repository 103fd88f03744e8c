import os
import re
from pathlib import Path

import pytest

from shadow.data import editions
from shadow.errors import UserError

LAYOUT_2023 = {
    "generated_dev": "dev/generated",
    "generated_test": "test/test_1/generated_1",
    "used": "dev/real/used",
    "not_used": "dev/real/not_used",
    "unknown": "test/test_1/real_unknown_1",
}
LAYOUT_2025 = {
    "generated_dev": "training/generated",
    "generated_test": "test/generated",
    "used": "training/real_used",
    "not_used": "training/real_not_used",
    "unknown": "test/real_unknown",
}
LAYOUTS = {"2023": LAYOUT_2023, "2025": LAYOUT_2025}


def tree(root: Path, layout, count=1):
    for folder in layout.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (root / folder / f"{index}.png").touch()
    return root


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(editions.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


@pytest.mark.parametrize("edition", LAYOUTS)
def test_roles_are_found_anywhere_below_the_root(tmp_path, edition):
    tree(tmp_path / "a b", LAYOUTS[edition])
    found = editions.find_roles(tmp_path, edition)
    assert list(found.items()) == [(role, tmp_path / "a b" / folder) for role, folder in LAYOUTS[edition].items()]
    assert list(found) == [role for role in editions.ROLES if role != "reference"]


@pytest.mark.parametrize("edition", LAYOUTS)
@pytest.mark.parametrize("role", list(LAYOUT_2023))
def test_missing_role_is_named_with_its_pattern_and_the_root(tmp_path, edition, role):
    tree(tmp_path, {name: path for name, path in LAYOUTS[edition].items() if name != role})
    with pytest.raises(UserError) as error:
        editions.find_roles(tmp_path, edition)
    spec = next(spec for spec in editions.get(edition).roles if spec.name == role)
    assert role in str(error.value)
    assert spec.folder in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("given", [("not_used",), ("reference",), ("not_used", "reference"), ()])
def test_own_data_need_no_label(tmp_path, warnings_logged, given):
    layout = {"generated_test": "x/generated", **{name: name for name in given}, "unknown": "candidates"}
    found = editions.find_roles(tree(tmp_path, layout, 3), "own")
    assert list(found.items()) == [(role, tmp_path / folder) for role, folder in layout.items()]
    assert warnings_logged == []
    for gone in ("generated_test", "unknown"):
        folder = tmp_path / layout[gone]
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=f"role {gone}: edition own needs a folder named"):
            editions.find_roles(tmp_path, "own")
        (tmp_path / "elsewhere").rename(folder)


@pytest.mark.parametrize("name", ["used", "Real_Used"])
def test_own_data_have_no_place_for_used_slices(tmp_path, name):
    tree(tmp_path, {"a": "generated", "b": "candidates", "c": "not_used", "d": name}, 3)
    with pytest.raises(UserError, match=rf"{name}: edition own has no place for used slices.*2023"):
        editions.find_roles(tmp_path, "own")


def test_an_optional_folder_must_not_be_empty(tmp_path):
    tree(tmp_path, {"a": "generated", "b": "candidates", "c": "not_used"}, 3)
    (tmp_path / "reference").mkdir()
    with pytest.raises(UserError, match=r"reference: no \.png file in it"):
        editions.find_roles(tmp_path, "own")


def test_the_names_of_2025_are_not_those_of_2023(tmp_path):
    with pytest.raises(UserError, match="for the role generated_dev of edition 2023"):
        editions.find_roles(tree(tmp_path, LAYOUT_2025), "2023")


def test_two_folders_for_a_role_are_both_named(tmp_path):
    tree(tmp_path, LAYOUT_2023)
    (tmp_path / "copy" / "used").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        editions.find_roles(tmp_path, "2023")
    assert str(tmp_path / "copy" / "used") in str(error.value)
    assert str(tmp_path / "dev" / "real" / "used") in str(error.value)


def test_hidden_junk_and_sealed_folders_do_not_count(tmp_path):
    tree(tmp_path, LAYOUT_2023)
    for folder in (".cache", "__MACOSX", "sealed", "Sealed"):
        (tmp_path / folder / "used").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "sealed")
    (tmp_path / "dev" / "loop").symlink_to(tmp_path)
    assert editions.find_roles(tmp_path, "2023")["used"] == tmp_path / "dev/real/used"


def test_sealed_is_never_listed(tmp_path, monkeypatch):
    tree(tmp_path, LAYOUT_2023)
    (tmp_path / "sealed").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sealed")
    listed = []
    scandir = os.scandir

    def recording(path):
        listed.append(Path(path).resolve())
        return scandir(path)

    monkeypatch.setattr(os, "scandir", recording)
    editions.find_roles(tmp_path, "2023")
    assert listed
    assert (tmp_path / "sealed").resolve() not in listed
    with pytest.raises(UserError, match="sealed"):
        editions.find_roles(tmp_path / "sealed", "2023")


def test_linked_role_folders_are_followed(tmp_path):
    tree(tmp_path / "store", LAYOUT_2023)
    (tmp_path / "root").mkdir()
    for part in ("dev", "test"):
        (tmp_path / "root" / part).symlink_to(tmp_path / "store" / part)
    assert editions.find_roles(tmp_path / "root", "2023")["used"] == tmp_path / "root/dev/real/used"


def test_empty_role_folder(tmp_path):
    tree(tmp_path, LAYOUT_2023)
    (tmp_path / "dev/real/not_used/0.png").unlink()
    (tmp_path / "dev/real/not_used/.hidden.png").touch()
    with pytest.raises(UserError, match=r"dev/real/not_used: no .png"):
        editions.find_roles(tmp_path, "2023")


def test_unknown_edition_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"'2099'.*2023, 2025"):
        editions.find_roles(tmp_path, "2099")


def test_missing_root_and_file_as_root(tmp_path):
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(UserError, match=name):
            editions.find_roles(tmp_path / name, "2023")


def test_unreadable_folder(tmp_path, monkeypatch):
    tree(tmp_path, LAYOUT_2023)
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "used":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"used: cannot read this folder: Permission denied"):
        editions.find_roles(tmp_path, "2023")


def test_counts_are_warned_about(tmp_path, warnings_logged):
    editions.find_roles(tree(tmp_path, LAYOUT_2023), "2023")
    assert len(warnings_logged) == 5
    assert any("has 10000 of the role generated_test" in line for line in warnings_logged)


def test_expected_counts_are_silent(tmp_path, warnings_logged, monkeypatch):
    counts = {role.name: role.count for role in editions.get("2025").roles}
    assert counts == {
        "generated_dev": 5000,
        "used": 100,
        "not_used": 100,
        "generated_test": 2000,
        "unknown": 500,
    }
    roles = {str(tmp_path / folder): role for role, folder in LAYOUT_2025.items()}
    monkeypatch.setattr(editions, "images_in", lambda folder: [folder] * counts[roles[str(folder)]])
    editions.find_roles(tree(tmp_path, LAYOUT_2025), "2025")
    assert warnings_logged == []


@pytest.mark.parametrize("sign", ["sealed/challenge.json", "challenge.json"])
def test_own_challenges_are_not_warned_about(tmp_path, warnings_logged, sign):
    tree(tmp_path, LAYOUT_2023)
    (tmp_path / sign).parent.mkdir(exist_ok=True)
    (tmp_path / sign).touch()
    editions.find_roles(tmp_path, "2023")
    assert warnings_logged == []


def test_images_come_in_natural_order(tmp_path):
    for name in ("g_10.png", "g_2.PNG", "g_1.png", "g_0003.png", ".DS_Store", "Thumbs.db", ".x.png"):
        (tmp_path / name).touch()
    names = [path.name for path in editions.images_in(tmp_path)]
    assert names == ["g_1.png", "g_2.PNG", "g_0003.png", "g_10.png"]


@pytest.mark.parametrize("name", ["notes.txt", "x.jpg", "png", "x.png.part"])
def test_other_files_are_named(tmp_path, name):
    (tmp_path / "a.png").touch()
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=re.escape(str(tmp_path / name))):
        editions.images_in(tmp_path)


def test_folder_inside_a_role_folder(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UserError, match="folder inside"):
        editions.images_in(tmp_path)


def test_names_that_are_not_utf8(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"\xff.png")).touch()
    except OSError:
        pytest.skip("the file system knows UTF-8 only")
    with pytest.raises(UserError, match="UTF-8"):
        editions.images_in(tmp_path)


@pytest.mark.parametrize("edition", LAYOUTS)
def test_a_zip_in_a_zip_leaves_a_folder_in_a_folder(tmp_path, edition):
    """Every role folder holds a folder alone, of its own name or of any, and that one the images."""
    layout = LAYOUTS[edition]
    nested = {role: f"{path}/{Path(path).name}" for role, path in layout.items()} | {"used": f"{layout['used']}/PNG/x"}
    found = editions.find_roles(tree(tmp_path, nested), edition)
    assert found == {role: tmp_path / path for role, path in nested.items()}


def test_a_folder_around_role_folders_is_none_whatever_its_name(tmp_path):
    layout = {role: f"used/{path.split('/')[-1]}" for role, path in LAYOUT_2023.items()}
    assert editions.find_roles(tree(tmp_path, layout), "2023")["used"] == tmp_path / "used/used"


def test_folders_in_a_role_folder_are_refused_where_they_may_be_more_than_a_wrapping(tmp_path):
    tree(tmp_path, LAYOUT_2023)
    used = tmp_path / LAYOUT_2023["used"]
    (used / "used").mkdir()
    with pytest.raises(UserError, match=r"used/used: a folder inside a role folder"):
        editions.find_roles(tmp_path, "2023")
    (used / "0.png").rename(used / "used/0.png")
    (used / "used").rename(used / "not_used")
    with pytest.raises(UserError, match=r"used/not_used: its name has no place inside .*used"):
        editions.find_roles(tmp_path, "2023")
    (used / "not_used").rename(used / "patient_1")
    (used / "patient_2").mkdir()
    with pytest.raises(UserError, match=r"used/patient_1: a folder inside a role folder"):
        editions.find_roles(tmp_path, "2023")


def test_a_role_folder_that_links_to_the_truth_is_none(tmp_path):
    layout = {role: path for role, path in LAYOUT_2023.items() if role != "used"}
    tree(tmp_path, layout | {"sealed": "sealed/used"})
    (tmp_path / "used").symlink_to(tmp_path / "sealed/used")
    with pytest.raises(UserError, match="no folder for the role used"):
        editions.find_roles(tmp_path, "2023")
