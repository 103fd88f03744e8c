import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.data import groups
from shadow.errors import UserError


def rms(first, second):
    """The distance, the slow way."""
    first, second = ((image - image.mean()) / (image.std() or 1) for image in (first, second))
    return np.sqrt(((first - second) ** 2).mean())


def families(seed, sizes, noise=0.3):
    """Images of len(sizes) families; the members of each are one picture under noise."""
    random = np.random.default_rng(seed)
    images = [
        100 + 20 * (base + noise * random.normal(size=(8, 8)))
        for base, size in ((random.normal(size=(8, 8)), size) for size in sizes)
        for _ in range(size)
    ]
    return np.array(images)


def same(labels):
    return np.asarray(labels)[:, None] == np.asarray(labels)[None]


def test_families_are_found_in_order_of_appearance():
    labels = groups.clusters(families(0, [3, 1, 2]), 0.9)
    assert labels.tolist() == [0, 0, 0, 1, 2, 2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1.6))
def test_complete_linkage_never_chains(seed, threshold):
    images = np.cumsum(families(seed, [1] * 14), axis=0)  # a walk: each image is like the one before
    labels = groups.clusters(images, threshold)
    apart = np.array([[rms(first, second) for second in images] for first in images])
    assert apart[same(labels)].max() <= threshold + 1e-9
    for first in range(labels.max() + 1):  # nor are two clusters left that could be one
        for second in range(first):
            both = np.isin(labels, (first, second))
            assert apart[np.ix_(both, both)].max() > threshold - 1e-9


def test_brightness_and_contrast_do_not_matter():
    images = families(1, [1])
    assert groups.clusters(np.concatenate([images, 0.5 * images + 30]), 1e-6).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_constant_images(dtype):
    flat = np.stack([np.full((8, 8), value) for value in (0, 77, 255)]).astype(dtype)
    textured = families(2, [1]).astype(dtype)
    assert groups.clusters(np.concatenate([flat, textured]), 0.5).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_few_images(count):
    assert groups.clusters(np.zeros((count, 4, 4)), 0.5).tolist() == [0] * count
    assert groups.near_duplicates(np.zeros((0, 4, 4)), np.zeros((count, 4, 4)), 0.5) == (
        [],
        ["t0001"] * count,
    )
    assert groups.near_duplicates(np.zeros((count, 4, 4)), np.zeros((0, 4, 4)), 0.5) == (
        ["d0001"] * count,
        [],
    )


def test_names_of_groups():
    images = families(3, [3, 2, 3, 1])
    dev, test = images[[0, 1, 3]], images[[8, 4, 2, 5, 6]]
    known, new = groups.near_duplicates(dev, test, 0.9)
    assert known == ["d0001", "d0001", "d0002"]
    assert new == ["t0001", "d0002", "d0001", "t0002", "t0002"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_dev_groups_and_ties_do_not_depend_on_other_candidates(seed, data):
    images = np.cumsum(families(seed, [1] * 20), axis=0)
    order = np.random.default_rng(seed).permutation(20)
    dev, test = images[order[:10]], images[order[10:]]
    kept = sorted(data.draw(st.sets(st.integers(0, 9))))
    known, new = groups.near_duplicates(dev, test, 0.7)
    known_of_part, new_of_part = groups.near_duplicates(dev, test[kept], 0.7)
    assert known == known_of_part
    assert known == groups.near_duplicates(dev, test[:0], 0.7)[0]
    ties = [name if name.startswith("d") else "" for name in new]
    assert [name if name.startswith("d") else "" for name in new_of_part] == [ties[index] for index in kept]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 1.4))
def test_a_candidate_joins_the_closest_cluster_that_is_wholly_near(seed, threshold):
    images = np.cumsum(families(seed, [1] * 16), axis=0)
    dev, test = images[::2], images[1::2]
    known, new = groups.near_duplicates(dev, test, threshold)
    for image, name in zip(test, new, strict=True):
        farthest = {
            group: max(rms(image, other) for other, its in zip(dev, known, strict=True) if its == group)
            for group in known
        }
        closest = min(farthest, key=farthest.__getitem__)
        assert name == closest if farthest[closest] <= threshold else name.startswith("t")


def table(path, text):
    path.write_text(text)
    return path


def test_patients_by_any_spelling_of_the_file(tmp_path):
    path = table(tmp_path / "p.csv", "file,patient,age\nused/a.png,p1,3\nb.PNG,p2,\nx\\1.2.3,p1,\nother.png,p9,\n")
    assert groups.patients_from_csv(path, ["1.2.3", "a", "b"]) == {"1.2.3": "p1", "a": "p1", "b": "p2"}


def test_patients_with_the_mark_of_a_spreadsheet(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"\xef\xbb\xbffile,patient\r\na.png,p1\r\n")
    assert groups.patients_from_csv(tmp_path / "p.csv", ["a"]) == {"a": "p1"}


def test_blanks_and_the_form_of_letters_do_not_matter(tmp_path):
    """macOS takes an umlaut apart, and some programs write a blank after each comma."""
    text = 'file, patient\n"scan 3, axial.png", Mu\u0308ller\n Mu\u0308ller.png ,M\u00fcller\n\n"b" , "p 2",\n'
    names = ["scan 3, axial", "M\u00fcller", "b"]
    found = groups.patients_from_csv(table(tmp_path / "p.csv", text), names)
    assert found == {"scan 3, axial": "M\u00fcller", "M\u00fcller": "M\u00fcller", "b": "p 2"}
    older = ["Mu\u0308ller"]  # an id in a manifest of before names had one form
    assert groups.patients_from_csv(tmp_path / "p.csv", older) == {older[0]: "M\u00fcller"}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("used/ a.png ", "a"),
        ("a .PNG", "a"),
        ("a.png.png", "a"),
        ("1.2.840.png", "1.2.840"),
        ("Mu\u0308ller.png", "M\u00fcller"),
        ("x\\scan 3, axial.png", "scan 3, axial"),
        (" .png", ""),
    ],
)
def test_an_id_has_one_form(name, wanted):
    assert groups.image_id(name) == wanted
    assert groups.image_id(wanted) == wanted
    assert groups.image_id(f"{wanted}.png") == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "header file,patient"),
        ("a.png,p1\n", "header file,patient"),
        ("file;patient\na;p1\n", "header file,patient"),
        ("file,patient\na,p1\n", "no patient for 2 of 3 images, the first is b"),
        ("file,patient\na,p1\nx/a.png,p1\n", "line 3: a is listed twice"),
        ("file,patient\na,\n", "line 2: no patient for a"),
        ("file,patient\na\n", "line 2: no patient for a"),
        ("file;patient\na;p1\n", "separated by semicolons: save it with commas"),
        ("file,patient\na,p1\nb 3, axial.png,p2\n", "line 3: 3 fields, the header has 2; put quotes around"),
        ("file,patient,file\na,p1,b\n", "header file,patient"),
    ],
)
def test_bad_patient_tables(tmp_path, text, reason):
    with pytest.raises(UserError, match=rf"p\.csv.*{reason}"):
        groups.patients_from_csv(table(tmp_path / "p.csv", text), ["a", "b", "c"])


def test_unreadable_patient_tables(tmp_path):
    (tmp_path / "latin.csv").write_bytes(b"file,patient\na,M\xfcller\n")
    (tmp_path / "wide.csv").write_bytes("file,patient\na,p\n".encode("utf-16"))
    for name in ("absent.csv", "latin.csv line 2: .*save it as CSV UTF-8", r"wide.csv line 1: .*UTF-16"):
        with pytest.raises(UserError, match=name):
            groups.patients_from_csv(tmp_path / name.split(" ")[0], ["a"])
