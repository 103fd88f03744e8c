import dataclasses
import hashlib
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from shadow import fleet
from shadow.data import decoding, doubles, editions, manifest
from shadow.errors import UserError

FOLDERS = {
    "generated_dev": ("dev/generated", "generated_{:04}.png", 4),
    "generated_test": ("test/generated_1", "generated_{:05}.png", 12),
    "used": ("dev/used", "used_{:04}.png", 3),
    "not_used": ("dev/not_used", "not_used_{:04}.png", 3),
    "unknown": ("test/real_unknown_1", "real_unknown_{:04}.png", 5),
}


def picture(path, seed, side=16, mode="L"):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


@pytest.fixture
def root(tmp_path):
    seed = 0
    for folder, name, count in FOLDERS.values():
        for index in range(1, count + 1):
            picture(tmp_path / "data" / folder / name.format(index), seed := seed + 1)
    (tmp_path / "data" / "sealed").mkdir()
    return tmp_path / "data"


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(doubles.logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def build(root, patients=None, distance=0.5, edition="2023"):
    return manifest.build(root, edition, patients, distance)


def columns(built):
    return {name: getattr(built, name).tolist() for name in manifest.HEADER}


def test_rows_columns_and_order(root):
    built = build(root)
    assert len(built) == 27
    assert list(dict.fromkeys(built.role.tolist())) == [role for role in editions.ROLES if role != "reference"]
    assert len(set(built.id.tolist())) == 27
    used = built.rows("used")
    assert built.id[used].tolist() == ["used_0001", "used_0002", "used_0003"]
    assert built.path[used[1]] == "dev/used/used_0002.png"
    assert built.label[used].tolist() == [1, 1, 1]
    assert built.label[built.rows("not_used")].tolist() == [0, 0, 0]
    assert set(built.label[built.rows("unknown")].tolist()) == {-1}
    assert set(built.width.tolist()) == set(built.height.tolist()) == {16}
    assert set(built.mode.tolist()) == {"L"}
    assert built.sha256[used[0]] == hashlib.sha256((root / built.path[used[0]]).read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="nobody"):
        built.rows("nobody")
    with pytest.raises(ValueError, match="read-only"):
        built.group[0] = "x"


def test_natural_order_without_padding(root):
    for index in (1, 2, 10):
        (root / f"dev/used/used_{index if index < 10 else 3:04}.png").rename(root / f"dev/used/u_{index}.png")
    assert build(root).id[build(root).rows("used")].tolist() == ["u_1", "u_2", "u_10"]


def test_groups_of_images_that_have_nothing_in_common(root):
    built = build(root)
    assert built.group[built.rows("used")].tolist() == ["d0001", "d0002", "d0003"]
    assert built.group[built.rows("not_used")].tolist() == ["d0004", "d0005", "d0006"]
    assert built.group[built.rows("unknown")].tolist() == ["t0001", "t0002", "t0003", "t0004", "t0005"]
    assert set(built.group[np.isin(built.role, editions.GENERATED)].tolist()) == {""}


def near(root, source, target, level):
    """Makes `target` a near-duplicate of `source`."""
    pixels = np.asarray(Image.open(root / source)).astype(int)
    noise = np.random.default_rng(level).normal(scale=level, size=pixels.shape)
    Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(root / target)


def test_dev_groups_do_not_depend_on_the_candidates(root):
    near(root, "dev/used/used_0001.png", "dev/not_used/not_used_0002.png", 5)
    near(root, "dev/used/used_0001.png", "test/real_unknown_1/real_unknown_0004.png", 6)
    near(root, "test/real_unknown_1/real_unknown_0001.png", "test/real_unknown_1/real_unknown_0003.png", 5)
    built = build(root)
    dev = np.isin(built.role, editions.DEV)
    assert built.group[built.rows("unknown")].tolist() == ["t0001", "t0002", "t0001", "d0001", "t0003"]
    (root / "test/real_unknown_1/real_unknown_0004.png").unlink()
    (root / "test/real_unknown_1/real_unknown_0001.png").unlink()
    assert (
        build(root).group[: dev.nonzero()[0].max() + 1].tolist() == built.group[: dev.nonzero()[0].max() + 1].tolist()
    )
    assert built.group[dev].tolist() == ["d0001", "d0002", "d0003", "d0004", "d0001", "d0005"]


def test_patients_given_found_or_missing(root, tmp_path):
    real = [name for name in build(root).id.tolist() if not name.startswith("generated")]
    lines = "".join(f"{name}.png,p{index // 2}\n" for index, name in enumerate(real))
    table = tmp_path / "elsewhere.csv"
    table.write_text("file,patient\n" + lines)
    built = build(root, table)
    assert built.group[np.isin(built.role, editions.REAL)].tolist() == [f"p{index // 2}" for index in range(11)]
    (root / "patients.csv").write_text("file,patient\n" + lines.replace(",p", ",q"))
    assert build(root, "").group[built.rows("used")].tolist() == ["q0", "q0", "q1"]
    assert build(root, str(table)).group[built.rows("used")].tolist() == ["p0", "p0", "p1"]
    with pytest.raises(UserError, match="absent"):
        build(root, "absent.csv")


def test_round_trip(root, tmp_path):
    built = build(root)
    built.write(tmp_path / "out" / "manifest.csv")
    content = (tmp_path / "out" / "manifest.csv").read_bytes()
    assert content.startswith(b"id,role,path,label,group,width,height,mode,sha256\ngenerated_0001,generated_dev,")
    assert b"\r" not in content
    assert b",real_unknown" not in content.splitlines()[-1].split(b",", 3)[3]
    assert content.splitlines()[-1].split(b",")[3] == b""
    again = manifest.read(tmp_path / "out" / "manifest.csv", root)
    assert columns(again) == columns(built)
    assert [getattr(again, name).dtype for name in manifest.HEADER] == [
        getattr(built, name).dtype for name in manifest.HEADER
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.csv"]


def test_names_that_csv_must_quote(root, tmp_path):
    (root / "dev/used/used_0001.png").rename(root / 'dev/used/a,"b" c é.png')
    built = build(root)
    built.write(tmp_path / "manifest.csv")
    assert columns(manifest.read(tmp_path / "manifest.csv", root)) == columns(built)


@pytest.mark.parametrize(
    ("edition", "name", "said"),
    [
        ("2023", "scan 3, axial.png", "edition 2023 cannot hold the , in its name; rename it"),
        ("2023", 'the "best".png', 'edition 2023 cannot hold the " in its name; rename it'),
        ("2023", "  .png", "nothing but blanks"),
        ("2023", "real_unknown_0002 .png", "have the same id real_unknown_0002; rename one"),
        ("2023", "real_unknown_0002.png.png", "have the same id real_unknown_0002; rename one"),
    ],
)
def test_names_that_no_submission_can_hold_are_refused(root, edition, name, said):
    folder = root / FOLDERS["unknown"][0]
    (folder / FOLDERS["unknown"][1].format(1)).rename(folder / name)
    with pytest.raises(UserError, match=said):
        build(root, edition=edition)


def test_a_name_has_one_form_whatever_the_system(root, tmp_path):
    """Composed and decomposed umlauts, and blanks around a name, are the same in files and in the csv."""
    folder = root / FOLDERS["unknown"][0]
    (folder / FOLDERS["unknown"][1].format(1)).rename(folder / " Mu\u0308ller .png")
    plain = build(root)
    assert "M\u00fcller" in plain.id.tolist()
    names = plain.id[plain.label >= 0].tolist() + plain.id[plain.rows("unknown")].tolist()
    table = tmp_path / "p.csv"
    table.write_text("file, patient\n" + "".join(f"{name}.png,Mu\u0308ller\n" for name in names))
    built = build(root, table)
    assert set(built.group[built.rows("unknown")].tolist()) == {"M\u00fcller"}
    manifest.verify_patients(built, table)
    assert len(built.images("unknown")) == len(built.rows("unknown"))


def test_a_failed_write_leaves_the_old_file(root, tmp_path, monkeypatch):
    built = build(root)
    (tmp_path / "manifest.csv").write_text("old")

    def full(source, target):
        raise OSError("no space left")

    monkeypatch.setattr("shadow.files.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        built.write(tmp_path / "manifest.csv")
    assert (tmp_path / "manifest.csv").read_text() == "old"


HEAD = "id,role,path,label,group,width,height,mode,sha256\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line"),
        ("id,role\n", "first line"),
        (HEAD + "a,used,a.png,1,,8\n", "line 2: 6 fields"),
        (HEAD + "a,target,a.png,1,,8,8,L,00\n", "line 2: no role 'target'"),
        (HEAD + "a,used,a.png,0,,8,8,L,00\n", "line 2: label '0' for the role used"),
        (HEAD + "a,unknown,a.png,1,,8,8,L,00\n", "line 2: label '1' for the role unknown"),
        (HEAD + "a,used,a.png,1,,x,8,L,00\n", "line 2: .*'x'"),
        (HEAD + "a,used,a.png,1,,8,8,L,00\n" * 2, "line 3: a is listed twice"),
    ],
)
def test_damaged_manifests(tmp_path, text, reason):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match=rf"manifest\.csv.*{reason}"):
        manifest.read(tmp_path / "manifest.csv", tmp_path)


def test_unreadable_manifest(tmp_path):
    with pytest.raises(UserError, match=r"absent\.csv: cannot read"):
        manifest.read(tmp_path / "absent.csv", tmp_path)


def test_images_of_a_role_and_of_ids(root):
    built = build(root)
    assert built.images("unknown").shape == (5, 16, 16)
    assert built.images("unknown").dtype == np.uint8
    picked = built.images(["used_0002", "real_unknown_0003"])
    np.testing.assert_array_equal(picked[0], decoding.read_gray(root / "dev/used/used_0002.png")[0])
    np.testing.assert_array_equal(picked[1], built.images("unknown")[2])
    np.testing.assert_array_equal(built.images(built.id[built.rows("used")]), built.images("used"))


@pytest.mark.parametrize("resolution", [4, 6, 16])
def test_images_at_is_resize_of_images(root, resolution):
    built = build(root)
    small = built.images_at("generated_test", resolution)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(small, decoding.resize(built.images("generated_test"), resolution))
    np.testing.assert_array_equal(built.images_at(["used_0003"], resolution)[0], built.images_at("used", resolution)[2])


def test_images_at_holds_few_full_size_images(root, monkeypatch):
    built = build(root)
    lock, now, most = threading.Lock(), 0, 0
    read = decoding.read_gray

    def counting(path):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        result = read(path)
        with lock:
            now -= 1
        return result

    monkeypatch.setattr(decoding, "read_gray", counting)
    built.images_at("generated_test", 4)
    assert most <= 8


def test_images_at_does_not_enlarge(root):
    with pytest.raises(UserError, match=r"data\.resolution=32"):
        build(root).images_at("used", 32)


def test_a_pile_may_have_its_own_size_but_only_one(root):
    for path in (root / "test/generated_1").iterdir():
        picture(path, 1, side=8)
    built = build(root)
    assert built.images("generated_test").shape == (12, 8, 8)
    assert built.images_at(["generated_00001", "used_0001"], 8).shape == (2, 8, 8)
    with pytest.raises(ValueError, match="one size"):
        built.images(["generated_00001", "used_0001"])
    picture(root / "test/generated_1/generated_00007.png", 1, side=12)
    with pytest.raises(UserError, match=r"generated_00007\.png: 12 x 12 pixels, while the others are 8 x 8"):
        build(root)


@pytest.mark.parametrize("name", ["dev/used/used_0001.png", "test/real_unknown_1/real_unknown_0005.png"])
def test_real_images_share_one_size(root, name):
    picture(root / name, 1, side=32)
    with pytest.raises(UserError, match=rf"{name}: 32 x 32 pixels, while the others are 16 x 16"):
        build(root)


def test_oblong_images(root):
    for path in (root / "dev/generated").iterdir():
        Image.new("L", (16, 8)).save(path)
    with pytest.raises(UserError, match=r"generated_0001\.png: 16 x 8 pixels; slices must be square"):
        build(root)


def test_one_id_in_two_roles(root):
    picture(root / "dev/not_used/used_0001.png", 99)
    with pytest.raises(UserError) as error:
        build(root)
    assert str(root / "dev/not_used/used_0001.png") in str(error.value)
    assert str(root / "dev/used/used_0001.png") in str(error.value)


def test_one_id_in_two_cases(root):
    picture(root / "dev/used/other.png", 98)
    (root / "dev/used/other.png").rename(root / "dev/used/used_0001.PNG")
    if len(list((root / "dev/used").iterdir())) == 3:
        pytest.skip("the file system ignores case")
    with pytest.raises(UserError, match="have the same id used_0001"):
        build(root)


def test_the_two_piles_of_2025_have_the_same_file_names(tmp_path):
    for seed, folder in enumerate(("a/generated", "b/generated", "a/real_used", "a/real_not_used", "b/real_unknown")):
        for index in (1, 2, 10):
            stem = folder.split("/")[1]
            picture(tmp_path / folder / f"{stem}_{index}.png", 100 * seed + index)
    (tmp_path / "sealed").mkdir()
    built = build(tmp_path, edition="2025")
    assert built.id[built.rows("generated_dev")].tolist() == ["generated_1", "generated_2", "generated_10"]
    assert built.id[built.rows("generated_test")].tolist()[-1] == "test_generated_10"
    assert built.id[built.rows("unknown")].tolist() == ["real_unknown_1", "real_unknown_2", "real_unknown_10"]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_one_picture_used_and_not_used(root, mode):
    picture(root / "dev/used/used_0002.png", 99)
    picture(root / "dev/not_used/not_used_0003.png", 99, mode=mode)
    with pytest.raises(UserError) as error:
        build(root)
    assert "used_0002.png" in str(error.value)
    assert "not_used_0003.png" in str(error.value)


def test_a_candidate_whose_answer_is_known(root, warnings_logged):
    picture(root / "dev/not_used/not_used_0003.png", 99)
    picture(root / "test/real_unknown_1/real_unknown_0002.png", 99)
    built = build(root)
    assert len(warnings_logged) == 1
    assert "not_used_0003.png" in warnings_logged[0]
    assert "real_unknown_0002.png" in warnings_logged[0]
    assert built.group[built.rows("unknown")[1]] == "d0006"


def test_stored_modes_are_recorded(root):
    picture(root / "dev/used/used_0002.png", 5, mode="P")
    built = build(root)
    assert built.mode[built.rows("used")].tolist() == ["L", "P", "L"]


def test_a_bad_file_is_named(root):
    (root / "test/generated_1/generated_00009.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"generated_00009\.png: not a PNG"):
        build(root)


def test_verify(root):
    built = build(root)
    manifest.verify(built)
    picture(root / "dev/used/used_0002.png", 77)
    with pytest.raises(UserError, match=r"used_0002\.png has changed since the manifest was written; restore"):
        manifest.verify(built)
    (root / "dev/not_used/not_used_0001.png").unlink()
    picture(root / "test/real_unknown_1/real_unknown_0006.png", 78)
    with pytest.raises(UserError, match=r"used_0002\.png has changed .*\(and 2 more such files\)"):
        manifest.verify(built)


def test_verify_names_missing_and_new_files(root):
    built = build(root)
    picture(root / "dev/used/used_0004.png", 77)
    with pytest.raises(UserError, match=r"used_0004\.png is new"):
        manifest.verify(built)
    for path in (root / "dev/used").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"used_0001\.png is missing .*\(and 2 more"):
        manifest.verify(built)
    (root / "dev/used").rmdir()
    with pytest.raises(UserError, match=r"used_0001\.png is missing .*\(and 2 more"):
        manifest.verify(built)


def test_files_that_changed_under_the_manifest(root):
    built = build(root)
    pixels = picture(root / "dev/used/used_0002.png", 2)
    pixels[3, 3] ^= 1
    for spoil in (
        lambda path: picture(path, 77, side=8),
        lambda path: Image.fromarray(pixels).save(path),
        lambda path: Image.open(path).save(path, compress_level=0),  # the same picture in another file
        lambda path: path.write_bytes(b"no image"),
    ):
        spoil(root / "dev/used/used_0002.png")
        for read in (built.images, lambda which: built.images_at(which, 4)):
            with pytest.raises(UserError, match=r"used_0002\.png has changed since the manifest was written; restore"):
                read("used")
        assert built.images("not_used").shape == (3, 16, 16)
    (root / "dev/used/used_0002.png").unlink()
    with pytest.raises(UserError, match=r"used_0002\.png: cannot read"):
        built.images("used")


def test_manifests_are_frozen(root):
    with pytest.raises(dataclasses.FrozenInstanceError):
        build(root).root = root


@pytest.mark.parametrize("folders", [("not_used",), ("reference",), ("reference", "not_used")])
def test_own_data(root, tmp_path, folders):
    data = tmp_path / "own"
    (root / "test/generated_1").parent.mkdir(exist_ok=True)
    shutil.copytree(next(root.rglob("generated_1")), data / "generated")
    shutil.copytree(next(root.rglob("real_unknown_1")), data / "candidates")
    for name, source in zip(folders, ("used", "not_used"), strict=False):
        shutil.copytree(root / "dev" / source, data / name)
    built = build(data, edition="own")
    assert set(built.role.tolist()) == {"generated_test", "unknown", *folders}
    for name in folders:
        assert set(built.label[built.rows(name)].tolist()) == {0 if name == "not_used" else -1}
        assert "" not in built.group[built.rows(name)]
    assert fleet.dev_ids(built) == [
        path.stem for name in ("not_used", "reference") if name in folders for path in sorted((data / name).iterdir())
    ]
    built.write(tmp_path / "manifest.csv")
    assert columns(manifest.read(tmp_path / "manifest.csv", data)) == columns(built)


def test_a_candidate_among_the_references_is_refused(root, tmp_path):
    data = tmp_path / "own"
    shutil.copytree(next(root.rglob("generated_1")), data / "generated")
    shutil.copytree(next(root.rglob("real_unknown_1")), data / "candidates")
    shutil.copytree(root / "dev/used", data / "reference")
    shutil.copy(next((data / "candidates").iterdir()), data / "reference/used_0002.png")
    with pytest.raises(UserError, match=r"used_0002\.png and .* must not be trained on a candidate"):
        build(data, edition="own")


def test_a_slice_that_is_known_and_not_known_is_refused(root, tmp_path):
    data = tmp_path / "own"
    shutil.copytree(next(root.rglob("generated_1")), data / "generated")
    shutil.copytree(next(root.rglob("real_unknown_1")), data / "candidates")
    shutil.copytree(root / "dev/used", data / "reference")
    shutil.copytree(root / "dev/not_used", data / "not_used")
    copied = next((data / "not_used").iterdir())
    shutil.copy(copied, data / "reference/used_0002.png")
    with pytest.raises(UserError, match=rf"{copied.name} and .*used_0002\.png .* once with its use known"):
        build(data, edition="own")
