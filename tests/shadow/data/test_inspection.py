"""What is told of a folder before anything is trained."""

import numpy as np
import pytest
from PIL import Image

from shadow.config import DataConfig
from shadow.data import editions, inspection, manifest
from shadow.errors import UserError


def fill(folder, count, seed, shape=(16, 16), quantised=False, mode="L"):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        gray = rng.integers(0, 256, shape, np.uint8)
        if quantised:
            gray = gray // 64 * 64
        Image.fromarray(gray).convert(mode).save(folder / f"{folder.name}_{i}.png")


@pytest.fixture
def own(tmp_path):
    fill(tmp_path / "x/generated", 6, 0)
    fill(tmp_path / "candidates", 4, 1)
    fill(tmp_path / "not_used", 5, 2)
    return tmp_path


def test_the_edition_is_found_and_every_role_described(own):
    facts = inspection.inspect(DataConfig(root=str(own)), None)
    assert facts.edition == "own"
    assert [(one.role, one.folder, one.count, one.expected) for one in facts.roles] == [
        ("generated_test", "x/generated", 6, 0),
        ("not_used", "not_used", 5, 0),
        ("unknown", "candidates", 4, 0),
    ]
    for one in facts.roles:
        gray = np.stack([np.array(Image.open(path)) for path in sorted((own / one.folder).iterdir())])
        assert one.mean == pytest.approx(gray.mean())
        assert one.spread == pytest.approx(np.median([image.std() for image in gray]))
        assert one.levels == np.median([len(set(image.ravel().tolist())) for image in gray])
        assert one.black == pytest.approx((gray == 0).mean())
        assert one.sizes == (("16 x 16", one.count),)
    assert facts.warnings == ()
    said = inspection.describe(facts)
    for words in ("edition own", "x/generated", "generated_test", "near-duplicates", "16 x 16"):
        assert words in said


def test_what_would_tell_generated_images_by_itself_is_said(own):
    for path in (own / "x/generated").iterdir():
        path.unlink()
    (own / "x/generated").rmdir()
    fill(own / "x/generated", 6, 0, (32, 32), quantised=True, mode="P")
    (own / "x/generated/copy.png").write_bytes((own / "x/generated/generated_0.png").read_bytes())
    (own / "patients.csv").write_text(
        "file,patient\n"
        + "".join(f"candidates_{i},a\n" for i in range(4))
        + "".join(f"not_used_{i},{i}\n" for i in range(5))
    )
    facts = inspection.inspect(DataConfig(root=str(own)), "own")
    text = "\n".join(facts.warnings)
    for words in (
        "has 4 gray levels",
        "mean gray value 9",
        "1 of 7 files repeat another one",
        "32 x 32 pixels, real images 16 x 16",
        "stored as P, real images as L",
        "unknown: one group holds 4 of 4 slices",
    ):
        assert words in text
    assert facts.grouped_by == "patients of the csv"


def test_another_edition_is_named_where_it_fits(own):
    with pytest.raises(UserError, match=r"role generated_dev.*those of edition own: give --config\.data\.edition"):
        inspection.inspect(DataConfig(root=str(own)), "2025")
    with pytest.raises(UserError, match=r"those of edition own: give"):
        editions.find_roles(own, "2023")
    (own / "candidates").rename(own / "others")
    with pytest.raises(
        UserError, match=r"has not all folders of any edition .*own: generated, not_used, reference, candid"
    ):
        inspection.inspect(DataConfig(root=str(own)), None)


def test_pictures_that_are_there_twice_are_told_and_not_refused(own):
    """`plan` would end at the first that it refuses. In other bytes, a picture is the same one."""
    (own / "reference").mkdir()
    for name, to in (("not_used_0", "reference/a"), ("not_used_1", "x/generated/b"), ("not_used_2", "not_used/c")):
        Image.open(own / f"not_used/{name}.png").convert("RGB").save(own / f"{to}.png")
    facts = inspection.inspect(DataConfig(root=str(own)), "own")
    found = {tuple(path for _, path in one.files): one.refused for one in facts.copies}
    assert list(found) == [
        ("x/generated/b.png", "not_used/not_used_1.png"),
        ("not_used/c.png", "not_used/not_used_2.png"),
        ("not_used/not_used_0.png", "reference/a.png"),
    ]
    refused = "not_used/not_used_0.png and reference/a.png are the same picture, once with its use known and once"
    assert [said[: len(refused)] for said in found.values()] == ["", "", refused]
    text = "\n".join(facts.warnings)
    for words in (
        f"a run refuses this folder: {refused}",
        "generated_test and not_used share a picture, to the last pixel: x/generated/b.png and not_used/not_used_1.png",
        "not_used: 1 of 6 files repeat another one",
    ):
        assert words in text
    with pytest.raises(UserError, match="the same picture, once with its use known"):
        manifest.build(own, "own", "", 0.5)
