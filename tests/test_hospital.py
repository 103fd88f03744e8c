"""From series of DICOM and a pile of PNG to a report, by the two commands that README.md gives to hospitals."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image
from tiny_run import leftovers

SIDE = 16
SERIES = {"candidates": 6, "not_used": 8}  # patients of each, with two slices each
OWN = ("--config.data.edition=own", "--config.attack.same_generator=auto")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """What an archive sends: series below folders with names of patients, one of them stored feet first, a scout and a
    coronal series among them; beside them the pile of a generator."""
    root, rng = tmp_path_factory.mktemp("hospital") / "raw", np.random.default_rng(0)
    number = 0
    for role, patients in SERIES.items():
        for patient in range(patients):
            number += 1
            who, axial = f"Doe^Jo {number}", [-1.0 if number == 2 else 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
            for i in range(2):
                values = rng.integers(-1000, 100, (SIDE, SIDE)).astype(np.int16)
                dicom(root / role / who / f"axial/IM{i}", values, who, ImageOrientationPatient=axial)
            if patient == 0:
                scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": axial}
                dicom(root / role / who / "scout/IM0", values, who, **scout)
                for i in range(2):
                    across = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
                    dicom(root / role / who / f"coronal/IM{i}", values, who, ImageOrientationPatient=across)
    (root / "generated").mkdir()
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), np.uint8)).save(root / f"generated/{i}.png")
    return root


@pytest.mark.slow
def test_from_series_to_a_report(launch, tiny, raw, tmp_path):
    data, folder = tmp_path / "data", tmp_path / "run"
    result = launch("convert", f"--source={raw}", f"--to={data}")
    assert result.returncode == 0, result.stderr
    said = [line for line in result.stderr.splitlines() if "left out" in line]
    assert len(said) == 2
    assert "scout/IM0 is a localizer, by its ImageType: left out (and 1 more such files)" in "".join(said)
    assert "coronal/IM0 is coronal, by its ImageOrientationPatient" in "".join(said)
    assert "(and 3 more such files)" in "".join(said)
    slices = 2 * sum(SERIES.values())
    assert f"{slices + 24} slices of {slices + 24} files, {sum(SERIES.values())} patients" in result.stdout
    with (data / "conversions.csv").open(newline="") as stream:
        turned = [row["source"] for row in csv.DictReader(stream) if "turned" in row["conversion"]]
    assert turned == ["candidates/Doe^Jo 2/axial/IM0", "candidates/Doe^Jo 2/axial/IM1"]

    result = tiny("run", folder, f"--config.data.root={data}", *OWN)
    assert result.returncode == 0, result.stderr
    assert leftovers(folder) == []
    with (folder / "predictions.csv").open(newline="") as stream:
        ids = {row["id"] for row in csv.DictReader(stream)}
    assert ids == {f"candidates_{i + 1:06d}" for i in range(2 * SERIES["candidates"])}
    with (folder / "patients.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == SERIES["candidates"]
    text = (folder / "report.html").read_text()
    assert "Doe^" not in text
    assert "Cannot tell" in text  # the pile is noise
    assert "<img" not in text
