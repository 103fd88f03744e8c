import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shadow.data import decoding
from shadow.errors import UserError

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path, image, **options):
    image.save(path, format="PNG", **options)
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width, height, depth, colour, lines, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def test_gray_is_read_as_is(tmp_path):
    gray, mode = decoding.read_gray(save(tmp_path / "a.png", Image.fromarray(GRAY)))
    assert mode == "L"
    assert gray.dtype == np.uint8
    assert gray.flags.writeable
    np.testing.assert_array_equal(gray, GRAY)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_gray_in_disguise(tmp_path, mode):
    gray, stored = decoding.read_gray(save(tmp_path / "a.png", Image.fromarray(GRAY).convert(mode)))
    assert stored == mode
    np.testing.assert_array_equal(gray, GRAY)


def palette(order):
    """GRAY as indices into a palette that lists the gray values in another order."""
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[GRAY])
    image.putpalette(np.repeat(np.asarray(order, np.uint8), 3).tobytes())
    return image


def test_palette_indices_are_not_gray_values(tmp_path):
    order = np.random.default_rng(0).permutation(256)
    gray, mode = decoding.read_gray(save(tmp_path / "a.png", palette(order)))
    assert mode == "P"
    np.testing.assert_array_equal(gray, GRAY)


def test_palette_with_opaque_transparency_bytes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save(tmp_path / "a.png", palette(range(256)), transparency=bytes([255] * 255 + [0]))
        gray, _ = decoding.read_gray(path)  # index 255 is transparent, but no pixel has it
    np.testing.assert_array_equal(gray, GRAY)


def test_one_bit(tmp_path):
    gray, mode = decoding.read_gray(save(tmp_path / "a.png", Image.fromarray(GRAY > 90)))
    assert mode == "1"
    np.testing.assert_array_equal(gray, np.where(GRAY > 90, 255, 0))


def test_four_bit_gray_is_stretched(tmp_path):
    (tmp_path / "a.png").write_bytes(raw_png(2, 1, 4, 0, b"\x00\x0f"))
    np.testing.assert_array_equal(decoding.read_gray(tmp_path / "a.png")[0], [[0, 255]])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_are_refused(tmp_path, mode):
    pixels = np.repeat(GRAY[..., None], 3, axis=2)
    pixels[2, 3, 1] += 1
    path = save(tmp_path / "a.png", Image.fromarray(pixels).convert(mode, palette=Image.Palette.ADAPTIVE))
    with pytest.raises(UserError, match=r"a\.png: has colours"):
        decoding.read_gray(path)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_refused(tmp_path, mode):
    image = Image.fromarray(GRAY)
    image.putalpha(Image.fromarray(np.where(GRAY == 5, 254, 255).astype(np.uint8)))
    with pytest.raises(UserError, match=r"a\.png: has transparent"):
        decoding.read_gray(save(tmp_path / "a.png", image.convert(mode)))


def test_transparent_gray_value(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(GRAY), transparency=5)
    with pytest.raises(UserError, match="transparent"):
        decoding.read_gray(path)
    path = save(tmp_path / "b.png", Image.fromarray(GRAY), transparency=6)  # no pixel has it
    np.testing.assert_array_equal(decoding.read_gray(path)[0], GRAY)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_refused_with_the_mend(tmp_path, colour, channels):
    (tmp_path / "a.png").write_bytes(raw_png(1, 1, 16, colour, bytes(1 + 2 * channels)))
    with pytest.raises(UserError, match=r"a\.png: 16 bits .* window the slices to 8 bits"):
        decoding.read_gray(tmp_path / "a.png")


def test_every_truncation_is_refused(tmp_path):
    content = save(tmp_path / "a.png", Image.fromarray(GRAY)).read_bytes()
    path = tmp_path / "b.png"
    for length in range(len(content) - 8):  # after the name of the last chunk nothing can be lost
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"b\.png"):
            decoding.read_gray(path)


@settings(deadline=None)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_damage_is_a_user_error_or_harmless(tmp_path_factory, position, noise):
    stream = io.BytesIO()
    Image.fromarray(GRAY).save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[position : position + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "noise.png"
    path.write_bytes(content)
    try:
        gray, _ = decoding.read_gray(path)
    except UserError as error:
        assert "noise.png" in str(error)  # noqa: PT017
        assert "0x" not in str(error)  # noqa: PT017
    else:
        np.testing.assert_array_equal(gray, GRAY)


def test_no_flipped_bit_is_taken():
    """Pillow takes one in eight of those near the end of the image data."""
    rng = np.random.default_rng(0)
    lines = b"".join(b"\0" + rng.integers(0, 256, 16, np.uint8).tobytes() for _ in range(16))
    content = raw_png(16, 16, 8, 0, lines, chunk(b"tEXt", b"note\0of the scanner"))
    for bit in range(8 * len(content)):
        spoilt = bytearray(content)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UserError, match=r"^a\.png: [^<]*$"):
            decoding.decode(bytes(spoilt), Path("a.png"))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt", b"eXIf"])
def test_long_notes_are_no_damage(kind):
    """Nor is the name of another part in one."""
    data = b"acTL\0\0" + zlib.compress(bytes(3_000_000) + b"IDAT IEND acTL")
    content = raw_png(2, 1, 8, 0, b"\0\5\7", chunk(kind, data))
    np.testing.assert_array_equal(decoding.decode(content, Path("a.png"))[0], [[5, 7]])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_clear_level_of_gray_is_seen_at_every_depth(depth):
    levels = 1 << depth
    line = b"\0" + (np.arange(8) % min(levels, 2)).astype(np.uint8).tobytes()
    packed = (
        b"\0" + np.packbits(np.unpackbits(np.frombuffer(line[1:], np.uint8)[:, None], axis=1)[:, -depth:]).tobytes()
    )
    seen = raw_png(8, 1, depth, 0, packed, chunk(b"tRNS", b"\0\1"))
    with pytest.raises(UserError, match="transparent pixels"):
        decoding.decode(seen, Path("a.png"))
    if levels > 2:
        unseen = raw_png(8, 1, depth, 0, packed, chunk(b"tRNS", b"\0\2"))
        np.testing.assert_array_equal(
            decoding.decode(unseen, Path("a.png"))[0], [np.arange(8) % 2 * (255 // (levels - 1))]
        )


@pytest.mark.parametrize(
    ("palette", "reason"),
    [(b"", "its palette is missing"), (chunk(b"PLTE", bytes([9] * 3 + [7] * 3)), "a colour that its palette lacks")],
)
def test_a_palette_without_a_pixels_colour_is_damage(palette, reason):
    """Pillow would call it black."""
    with pytest.raises(UserError, match=reason):
        decoding.decode(raw_png(3, 1, 8, 3, b"\0\0\1\2", palette), Path("a.png"))


def test_a_part_that_must_be_understood_is_refused():
    """Such as the one of Apple's own variant, which swaps colours."""
    with pytest.raises(UserError, match="'CgBI' that PNG does not know"):
        decoding.decode(raw_png(2, 1, 8, 0, b"\0\5\7", chunk(b"CgBI", bytes(4))), Path("a.png"))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: cannot read this file: it is a pipe"):
        decoding.read_gray(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"patient 7", "not a PNG"),
        (b"GIF89a" + bytes(40), "not a PNG"),
        (b"\x89PNG", "cut off"),
    ],
)
def test_other_contents(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.png: .*{reason}"):
        decoding.read_gray(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(UserError, match="cannot read this file"):
            decoding.read_gray(path)


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(UserError, match=r"a\.png: cannot read this file: Permission denied"):
        decoding.read_gray(tmp_path / "a.png")


def test_no_bomb_and_no_animation_reaches_pillow(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(raw_png(40_000, 40_000, 8, 0, b"\0"))
    with pytest.raises(UserError, match="40000 x 40000"):
        decoding.read_gray(path)
    path.write_bytes(raw_png(1, 1, 8, 0, b"\0\0", chunk(b"acTL", struct.pack(">II", 0, 0))))
    with pytest.raises(UserError, match="animated"):
        decoding.read_gray(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("factor", [1, 2, 3, 8])
def test_integer_factors_are_exact_box_means(dtype, factor):
    images = np.random.default_rng(1).integers(0, 256, (5, 4 * factor, 4 * factor)).astype(dtype)
    result = decoding.resize(images, 4)
    assert result.dtype == np.float32
    expected = images.astype(np.float64).reshape(5, 4, factor, 4, factor).mean(axis=(2, 4))
    np.testing.assert_array_equal(result, expected.astype(np.float32))


def test_large_factors_do_not_overflow():
    np.testing.assert_array_equal(decoding.resize(np.full((1, 600, 600), 255, np.uint8), 2), 255)


@pytest.mark.parametrize(("side", "resolution"), [(10, 4), (7, 5), (256, 48)])
def test_other_factors_are_pillows_box(side, resolution):
    images = np.random.default_rng(2).integers(0, 256, (3, side, side), np.uint8)
    result = decoding.resize(images, resolution)
    one = Image.fromarray(images[1].astype(np.float32))
    expected = np.asarray(one.resize((resolution, resolution), Image.Resampling.BOX))
    np.testing.assert_array_equal(result[1], expected.clip(0, 255))
    assert 0 <= result.min() <= result.max() <= 255
    np.testing.assert_array_equal(decoding.resize(np.full((1, side, side), 255, np.uint8), resolution), 255)


@pytest.mark.parametrize("resolution", [4, 5])
def test_chunks_and_neighbours_do_not_matter(monkeypatch, resolution):
    images = np.random.default_rng(3).integers(0, 256, (11, 16, 16), np.uint8)
    whole = decoding.resize(images, resolution)
    monkeypatch.setattr(decoding, "_CHUNK_PIXELS", 3 * 256)
    np.testing.assert_array_equal(decoding.resize(images, resolution), whole)
    np.testing.assert_array_equal(decoding.resize(images[7:8], resolution)[0], whole[7])


def test_no_images():
    assert decoding.resize(np.empty((0, 16, 16), np.uint8), 4).shape == (0, 4, 4)


@pytest.mark.parametrize("resolution", [0, -1, 17, 32])
def test_enlarging_is_refused(resolution):
    with pytest.raises(UserError, match=rf"data\.resolution={resolution}"):
        decoding.resize(np.zeros((1, 16, 16), np.uint8), resolution)


def test_oblong_images_are_refused():
    with pytest.raises(UserError, match="16 x 8 pixels; they must be square"):
        decoding.resize(np.zeros((1, 8, 16), np.uint8), 4)
