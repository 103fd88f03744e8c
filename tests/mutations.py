"""Inputs of every kind, and what chance, a bad disk or a bad program makes of them.

Each mutation is a pure function of the kind and a step: it is drawn from (seed, stream, step) as all draws are.
"""

from __future__ import annotations

import csv
import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from dicom_files import dicom
from PIL import Image

from shadow import keys

SEED = 20
SIDE = 8
COUNT = 3  # slices of an archive, a volume or a stack
GRAY = keys.generator(SEED, "mutations/slices").integers(0, 256, (COUNT, SIDE, SIDE), np.uint8)
HU = keys.generator(SEED, "mutations/volume").integers(-1350, 150, (COUNT, SIDE, SIDE)).astype(np.int16)
_EXTREME = (0, 1, -1, 7, 255, 2**15 - 1, 2**31 - 1, -(2**31), 2**31)  # lengths that no reader should trust


def png(gray: np.ndarray, mode: str = "L", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(gray).convert(mode).save(stream, "PNG", **options)
    return stream.getvalue()


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """(name, data) of every part of a PNG file."""
    found, at = [], 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these parts, with right checksums."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big")
        for name, data in parts
    )


def zipped(files: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of members that are there twice, which is the aim
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content)
    return stream.getvalue()


def tarred(files: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def members() -> list[tuple[str, bytes]]:
    """What lies in an archive: a slice a role folder and one more."""
    names = ("candidates/1.png", "not_used/2.png", "generated/3.png")
    return [(name, png(gray)) for name, gray in zip(names, GRAY, strict=True)]


def patients(rows: int = 6) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("file", "patient"), *((f"slice {i}, ä.png", f"patient {i // 2}") for i in range(rows))])
    return text.getvalue().encode()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def sound(folder: Path) -> dict[str, bytes]:
    """An undamaged file of every kind, by its name; `folder` is for those that libraries write to disk."""
    import nibabel
    import pydicom

    dicom(folder / "a.dcm", HU[0], ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    dicom(folder / "frames.dcm", HU)
    dicom(folder / "j2k.dcm", np.kron(HU[0], np.ones((4, 4), np.int16)))  # smaller ones cannot be packed
    packed = pydicom.dcmread(folder / "j2k.dcm")
    packed.compress(pydicom.uid.JPEG2000Lossless, generate_instance_uid=False)
    packed.save_as(folder / "j2k.dcm")
    volume = nibabel.Nifti1Image(HU.transpose(2, 1, 0), np.diag([-1.0, -1.0, 2.5, 1.0]))
    nibabel.save(volume, folder / "a.nii")
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    pages = [Image.fromarray(gray) for gray in GRAY]
    for name, kind in (("a.tif", "TIFF"), ("a.jpg", "JPEG"), ("a.bmp", "BMP")):
        stream = io.BytesIO()
        pages[0].save(stream, kind, **({"save_all": True, "append_images": pages[1:]} if kind == "TIFF" else {}))
        found[name] = stream.getvalue()
    return found | {
        "a.png": png(GRAY[0]),
        "palette.png": png(GRAY[0], "P"),
        "a.nii.gz": gzip.compress(found["a.nii"], mtime=0),
        "a.npy": saved(HU),
        "a.npz": npz(slices=HU),
        "a.zip": zipped(members()),
        "a.tar": tarred(members()),
        "a.tar.gz": gzip.compress(tarred(members()), mtime=0),
        "patients.csv": patients(),
    }


def mutated(name: str, content: bytes, step: int) -> bytes:
    """The file `name` with one to three changes. Where it has checksums, every other one has them made anew."""
    draw = keys.generator(SEED, f"mutations/{name}", step)
    inner = _INNER.get(name)
    if inner and draw.integers(2):
        return inner(content, draw)
    for _ in range(draw.integers(1, 4)):
        content = _CHANGES[draw.integers(len(_CHANGES))](content, draw)
    return content


def _place(content: bytes, draw: np.random.Generator) -> tuple[int, int]:
    start = int(draw.integers(0, max(len(content), 1)))
    return start, start + int(draw.integers(1, 33))


def _set(content: bytes, draw: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for at in draw.integers(0, max(len(content), 1), draw.integers(1, 4)):
        changed[at : at + 1] = bytes([draw.integers(256)])
    return bytes(changed)


def _flip(content: bytes, draw: np.random.Generator) -> bytes:
    at = int(draw.integers(0, max(len(content), 1)))
    return content[:at] + bytes(byte ^ 1 << int(draw.integers(8)) for byte in content[at : at + 1]) + content[at + 1 :]


def _truncate(content: bytes, draw: np.random.Generator) -> bytes:
    return content[: draw.integers(0, max(len(content), 1))]


def _insert(content: bytes, draw: np.random.Generator) -> bytes:
    at, end = _place(content, draw)
    return content[:at] + draw.bytes(end - at) + content[at:]


def _delete(content: bytes, draw: np.random.Generator) -> bytes:
    at, end = _place(content, draw)
    return content[:at] + content[end:]


def _double(content: bytes, draw: np.random.Generator) -> bytes:
    at, end = _place(content, draw)
    return content[:end] + content[at:end] + content[end:]


def _swap(content: bytes, draw: np.random.Generator) -> bytes:
    (a, b), (c, d) = sorted(_place(content, draw) for _ in range(2))
    b = min(b, c)
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _length(content: bytes, draw: np.random.Generator) -> bytes:
    """A number of two or four bytes that is far from the truth, at a place where numbers mostly stand."""
    width, order = (2, 4)[draw.integers(2)], ("<", ">")[draw.integers(2)]
    number = _EXTREME[draw.integers(len(_EXTREME))] % (1 << 8 * width)
    at = int(draw.integers(0, max(len(content) - width, 1))) // 2 * 2
    return content[:at] + struct.pack(f"{order}{'H' if width == 2 else 'I'}", number) + content[at + width :]


_CHANGES = (_set, _flip, _truncate, _insert, _delete, _double, _swap, _length)


def _of_png(content: bytes, draw: np.random.Generator) -> bytes:
    """Parts swapped, doubled, left out, cut or changed, with right checksums."""
    parts = chunks(content)
    for _ in range(draw.integers(1, 3)):
        at, other = (int(place) for place in draw.integers(0, len(parts), 2))
        how = draw.integers(5)
        if how == 0:
            parts[at], parts[other] = parts[other], parts[at]
        elif how == 1:
            parts.insert(other, parts[at])
        elif how == 2 and len(parts) > 1:
            del parts[at]
        else:
            kind, data = parts[at]
            parts[at] = kind, _CHANGES[draw.integers(len(_CHANGES))](data, draw)
    return joined(parts)


def _of_gzip(content: bytes, draw: np.random.Generator) -> bytes:
    return gzip.compress(_CHANGES[draw.integers(len(_CHANGES))](gzip.decompress(content), draw), mtime=0)


def _of_members(files: list[tuple[str, bytes]], draw: np.random.Generator) -> list[tuple[str, bytes]]:
    """Members doubled, left out, swapped or damaged, of which the archive's own checksums say nothing."""
    at, other = (int(place) for place in draw.integers(0, len(files), 2))
    name, content = files[at]
    how = draw.integers(4)
    if how == 0:
        files.insert(other, files[at])
    elif how == 1:
        files[at], files[other] = (name, files[other][1]), (files[other][0], content)
    elif how == 2:
        files[at] = _CHANGES[draw.integers(len(_CHANGES))](name.encode(), draw).decode("latin-1") or "a", content
    else:
        files[at] = name, _CHANGES[draw.integers(len(_CHANGES))](content, draw)
    return files


def _of_zip(content: bytes, draw: np.random.Generator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    return zipped(_of_members(files, draw))


def _of_tar(content: bytes, draw: np.random.Generator) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = [(entry.name, archive.extractfile(entry).read()) for entry in archive]
    return tarred(_of_members(files, draw))


def _of_table(content: bytes, draw: np.random.Generator) -> bytes:
    """Lines swapped, doubled, left out or with other marks."""
    lines = content.decode().split("\n")
    at, other = (int(place) for place in draw.integers(0, len(lines), 2))
    how = draw.integers(5)
    if how == 0:
        lines[at], lines[other] = lines[other], lines[at]
    elif how == 1:
        lines.insert(other, lines[at])
    elif how == 2:
        del lines[at]
    else:
        mark = ('"', ",", ";", "\t", "\0", "\r", "\u2028", "\ufeff", " ", "''")[draw.integers(10)]
        place = int(draw.integers(0, len(lines[at]) + 1))
        lines[at] = lines[at][:place] + mark + lines[at][place:]
    return "\n".join(lines).encode(("utf-8", "utf-8-sig", "utf-16")[draw.integers(3)] if how == 4 else "utf-8")


_INNER = {
    "a.png": _of_png,
    "palette.png": _of_png,
    "a.nii.gz": _of_gzip,
    "a.tar.gz": _of_gzip,
    "a.zip": _of_zip,
    "a.npz": _of_zip,
    "a.tar": _of_tar,
    "patients.csv": _of_table,
}
