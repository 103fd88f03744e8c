"""DICOM files of made-up slices."""

from __future__ import annotations

import numpy as np
import pytest


def dicom(path, values, patient="Müller^Eva", slope=1.0, intercept=-1024.0, **fields):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.CTImageStorage, pydicom.uid.generate_uid()
    data.SpecificCharacterSet, data.Modality, data.PatientID = "ISO_IR 192", "CT", patient
    data.Rows, data.Columns = values.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = slope, intercept
    if values.ndim == 3:
        data.NumberOfFrames = len(values)
    data.PixelData = np.rint((values - intercept) / slope).astype(np.uint16).tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
