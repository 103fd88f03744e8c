"""From what hospitals and teams have (DICOM, NIfTI, arrays, pictures) to the 8-bit gray PNG files of a run."""
