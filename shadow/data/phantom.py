"""Made-up patients: axial CT-like slices of the chest, some with tuberculosis, drawn from a seed.

A patient is a set of 3-D parameters drawn once (outline, ribs, heart, vessel trees, lesions); a slice is that
anatomy cut at a height, so neighbouring slices of a patient belong together and no two patients are alike.
Lengths are millimetres: x to the right of the image, y to the back, z downwards from the top of the arch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from shadow import keys
from shadow.data import phantom_render as render
from shadow.data.phantom_anatomy import ANGLES, ROWS, THETA, Patient

DEPTH_MM = 200.0  # the chest from position 0 to position 1


def slices(seed: int, patients: Sequence[int], positions: np.ndarray, size: int = 256) -> np.ndarray:
    """Slices of made-up patients, in the lung window (level -600 HU, width 1500 HU).

    Args:
      seed: of the whole population, >= 0.
      patients: numbers (>= 0) of the patients wanted. Patient p is a function of (seed, p) alone, whichever
        others are asked for; so is a slice of (seed, p, position, size), its noise included.
      positions: float array of heights in [0, 1] through the chest (0 above, at the aortic arch; 1 low, at
        the diaphragm; 0.01 is 2 mm): [position], the same for all patients, or [patient, position].
      size: pixels a side, 64 to 1024.

    Returns:
      uint8 [patient, position, size, size]: 0 is -1350 HU (and whatever lies outside the scanner's circular
      field of view), 255 is +150 HU and above; air is about 60.

    Raises:
      ValueError: a size or position out of range, or positions of another shape.
    """
    if not 64 <= size <= 1024:
        raise ValueError(f"size must be 64 to 1024 pixels, not {size}")
    heights = np.asarray(positions, dtype=np.float64)
    if heights.ndim not in (1, 2) or (heights.ndim == 2 and len(heights) != len(patients)):
        raise ValueError(
            f"positions must be [position] or [patient, position] with {len(patients)} patients, "
            f"not of shape {list(heights.shape)}"
        )
    if not np.all((heights >= 0) & (heights <= 1)):
        raise ValueError("positions must be heights between 0 and 1")
    heights = np.broadcast_to(heights, (len(patients), heights.shape[-1])) + 0.0  # + 0.0: no minus zero
    result = np.empty((*heights.shape, size, size), np.uint8)
    for image, number, row in zip(result, patients, heights, strict=True):
        patient = Patient(keys.generator(seed, "phantom", int(number)))
        grid = _Grid(patient, size)
        for i, position in enumerate(row):
            noise = keys.generator(seed, "phantom noise", int(number), int(position.view(np.int64)))
            image[i] = _slice(patient, grid, float(position) * DEPTH_MM, noise)
    return result


class _Grid:
    """A patient's pixels: where each lies in the patient, and everything that is the same at every height."""

    def __init__(self, patient: Patient, size: int) -> None:
        self.size, self.pixel = size, patient.view / size
        self.cos, self.sin = np.cos(patient.roll), np.sin(patient.roll)
        self.shift = patient.shift
        at = ((np.arange(size) + 0.5) * self.pixel - patient.view / 2).astype(np.float32)
        u, v = np.meshgrid(at - np.float32(patient.shift[0]), at - np.float32(patient.shift[1]))
        self.x = (self.cos * u + self.sin * v).astype(np.float32)
        self.y = (self.cos * v - self.sin * u).astype(np.float32)
        self.rho = np.hypot(self.x, self.y)
        turn = np.arctan2(self.x, -self.y)
        self.angle = ((turn + np.pi) * (ANGLES / (2 * np.pi))).astype(np.intp) % ANGLES
        self.row = np.clip(((self.y - ROWS[0]) * 2).astype(np.intp), 0, len(ROWS) - 1)
        self.outside = at[:, None] ** 2 + at**2 > patient.circle**2
        self.dome = np.full((size, size), 1e3, np.float32)
        for x, y, top, wide, tall in patient.domes:
            q = np.sqrt(((self.x - x) / wide) ** 2 + ((self.y - y) / (0.95 * patient.half_depth)) ** 2)
            rise = np.where(q < 1, 1 - np.sqrt(np.maximum(1 - q * q, 0)), 1 + 3 * (q - 1))
            self.dome = np.minimum(self.dome, top + tall * rise)
        radius, gap, thick, hard = patient.couch
        under = v - patient.back - gap + u * u / (2 * radius)
        self.air = np.where((under > 0) & (under < thick), np.float32(-960), np.float32(-1000))
        render.mix(self.air, hard, render.edge((1.5 - np.abs(under)) / self.pixel))
        render.mix(self.air, 0.5 * hard - 450, render.edge((1.0 - np.abs(under - thick)) / self.pixel))
        self.airways, self.tree = self.rows(patient.airways), self.rows(patient.tree)
        thin = self.tree[:, 6:]
        thin -= 0.6 * np.maximum(0.5 - thin, 0)  # what is thinner than a pixel fills only a part of it
        self.windpipe, self.vessels, self.hearts = map(self.rows, (patient.windpipe, patient.vessels, patient.hearts))
        self.knots = np.linspace(0, 1, size)

    def rows(self, capsules: np.ndarray) -> np.ndarray:
        """Capsules of the patient in pixels."""
        out = np.array(capsules, dtype=np.float64).reshape(-1, 8)
        for k in (0, 3):
            x, y = out[:, k].copy(), out[:, k + 1].copy()
            out[:, k] = self.cos * x - self.sin * y + self.shift[0] + self.pixel * self.size / 2
            out[:, k + 1] = self.sin * x + self.cos * y + self.shift[1] + self.pixel * self.size / 2
        return out / self.pixel

    def field(self, knots: np.ndarray, z: float) -> np.ndarray:
        """A slow random function of the place, [size, size], from the knots [k, n, n] of a patient."""
        level = render.between(knots, np.array([z / DEPTH_MM]))[0]
        return render.between(render.between(level, self.knots).T.copy(), self.knots)


def _slice(patient: Patient, grid: _Grid, z: float, rng: np.random.Generator) -> np.ndarray:
    """The slice at height `z`, uint8: painted from the outside inwards, in HU."""
    size, pixel, mix, edge = grid.size, grid.pixel, render.mix, render.edge

    def over(table: np.ndarray) -> np.ndarray:
        return np.take((table / pixel).astype(np.float32), grid.angle)

    def drawn(rows: np.ndarray, margin: float = 0.5) -> np.ndarray:
        return render.capsules(rows, z / pixel, size, margin)

    rho = grid.rho / np.float32(pixel)
    cavity, ribs, muscle, skin = patient.walls(z)
    rib, blade = patient.rib_thickness(z)
    coarse, fine = grid.field(patient.coarse, z), grid.field(patient.fine, z)

    image = grid.air.copy()
    depth = over(skin) - rho
    sheet = over(patient.sheet[0] * (1 + 0.3 * patient.wave(3, z)))
    mix(image, patient.sheet[1], edge(0.6 - np.abs(depth + sheet)) * np.float32(0.5))
    body = edge(depth)
    mix(image, -100 + 14 * fine, body)
    mix(image, -10.0, body * edge(1.2 / pixel - depth))  # skin
    mix(image, 45 + 10 * fine, edge(over(muscle) - rho))
    # Fat between the layers of muscle comes and goes around the chest, as does that on the ribs.
    middle = over((ribs + muscle) / 2 + 4 * patient.wave(4, z))
    gap = over(np.minimum(0.3 * (muscle - ribs) - 2.5, 2 * patient.wave(6, z)))
    mix(image, -80.0, edge(gap - np.abs(rho - middle)))
    gap = over(1.4 * patient.wave(5, 2 * z))
    mix(image, -70.0, edge(gap - np.abs(rho - over(ribs + 1))) * np.float32(0.6))
    blade_at = over(ribs + 7 + 9 * np.clip(2.6 - np.abs(THETA), 0, 1))
    mix(image, 420.0, edge(over(blade) - np.abs(rho - blade_at)) * over((blade > 0) * pixel))
    bone = over(rib) - np.abs(rho - over(cavity + 6))
    hard = over(np.where(np.abs(THETA) < 0.6, 110, 430) * pixel)  # in front the ribs are cartilage
    hard -= np.minimum(hard - 110, 290) * edge(bone - 2.0 / pixel)  # marrow
    mix(image, hard, edge(bone) * over((rib > 0.3) * pixel))

    # Inside the ribs: fat of the mediastinum, then lung on either side of it, then what runs through it.
    inside = edge(over(cavity) - rho)
    mix(image, -75 + 15 * fine + 120 * edge((grid.y - np.float32(patient.spine)) / 6), inside)
    right, left = patient.borders(z)
    right, left = (np.take(border.astype(np.float32), grid.row) for border in (right, left))
    beside = np.maximum(right - grid.x, grid.x - left) / np.float32(pixel)
    heart = drawn(grid.hearts, 9 / pixel)
    pump = edge(heart + 7 / pixel)
    if pump.any():  # chambers beating through the scan leave one rounded outline
        wide = round(13 / pixel)
        pump = ndimage.uniform_filter(ndimage.uniform_filter(pump, wide), wide)
        pump = np.clip(6 * pump - 2.5, 0, 1)
    organ = np.clip((z - grid.dome) / 5 + 0.5, 0, 1)
    lung = inside * edge(beside) * (1 - pump) * (1 - organ)
    mix(image, 60.0 + 6 * fine, inside * organ)
    mix(image, 50.0, inside * pump)
    air = patient.lung_hu + patient.slope * grid.y + patient.mottle * (0.8 * coarse + fine)
    mix(air, 40.0, edge(drawn(grid.tree)))
    _paint_lesions(air, patient, grid, z, fine)
    airway = drawn(grid.airways, 3 / pixel)
    mix(air, -300.0, edge(airway + 1.2 / pixel))
    mix(air, -970.0, edge(airway))
    mix(image, air, lung)
    mix(image, 45 + patient.contrast, edge(drawn(grid.vessels)))
    mix(image, 45 + 0.6 * patient.contrast, np.clip(heart * np.float32(pixel / 5) + 0.5, 0, 1))
    if patient.stomach[0] < 0.6:
        x0, y0, top, _, _ = patient.domes[1]
        r = patient.stomach[1]
        bubble = np.array([[x0 - 14, y0 - 40, top + 8 + r, x0 + 14, y0 - 44, top + 10 + r, r, r]])
        mix(image, -980.0, edge(drawn(grid.rows(bubble))) * organ)
    _paint_spine(image, patient, grid, z, fine)
    pipe = drawn(grid.windpipe, 3 / pixel)
    mix(image, 10.0, edge(pipe + 1.3 / pixel))
    mix(image, -985.0, edge(pipe))

    thick = np.float32(patient.noise) * (0.35 + body * (0.4 + np.exp(-((grid.rho / 120) ** 2))))
    image += thick * render.grain(rng, size, patient.blur)
    shown = np.rint((image + 1350) * (255 / 1500))
    shown[grid.outside] = 0
    return np.clip(shown, 0, 255).astype(np.uint8)


def _paint_spine(image: np.ndarray, patient: Patient, grid: _Grid, z: float, fine: np.ndarray) -> None:
    """The vertebra cut at `z`, with its arch and processes, and the breastbone in front."""
    turn = 2 * np.pi * (z - patient.vertebra_phase) / patient.vertebra_gap
    body, wing, arch = (0.5 + 0.5 * float(np.cos(turn + lag)) for lag in (0, -1.0, 1.6))
    r, y = patient.vertebra, patient.spine
    back = y + 1.15 * r

    def line(x0: float, y0: float, x1: float, y1: float, r0: float, r1: float) -> list[float]:
        return [x0, y0, z, x1, y1, z, r0, r1]

    trunk = [line(-0.4 * r, y, 0.4 * r, y, r * (0.94 + 0.08 * body), r * (0.94 + 0.08 * body))]
    bones = [line(0, back + 17, 0, back + 27 + 12 * arch, 3.2, 2.6)]
    for s in (-1, 1):
        bones += [
            line(s * 0.75 * r, back - 2, s * 11, back + 9, 3.6 * (0.45 + 0.55 * wing), 3.6),
            line(s * 11, back + 9, 0, back + 17, 3.2, 3.2),
            line(s * 12, back + 8, s * (20 + 15 * wing), back + 8 + 8 * wing, 5 * wing - 0.5, 5 * wing - 1),
            line(s * (r + 2), y + 4, s * (r + 20), back + 2, 5 * body * wing - 1, 5 * body * wing - 1.5),
        ]

    def depth(lines: list[list[float]]) -> np.ndarray:
        return render.capsules(grid.rows(np.array(lines)), z / grid.pixel, grid.size)

    shell = depth(trunk)
    render.mix(image, 60 + 330 * body**0.5, render.edge(shell))
    render.mix(image, 70 + 65 * body + 35 * fine, np.clip(0.6 * (shell - 2.0 / grid.pixel), 0, 1))
    render.mix(image, 380 + 60 * fine, render.edge(depth(bones)))
    render.mix(image, 25.0, render.edge(depth([line(-1.5, back + 7, 1.5, back + 7, 7, 7)])))

    front = -float(patient.cavity(z, np.array([0.0]))[0]) - 8
    half = 9 + 16 * float(np.exp(-(((z + 10) / 45) ** 2)))
    breast = [line(-half, front, half, front, 5.5, 5.5)]
    if z < 30:
        size_of = 9 * (1 - z / 30) ** 0.5
        breast += [line(s * 30, front + 2, s * 52, front + 1, size_of, 0.8 * size_of) for s in (-1, 1)]
    plate = depth(breast)
    render.mix(image, 400.0, render.edge(plate))
    render.mix(image, 120 + 40 * fine, render.edge(plate - 2.4 / grid.pixel))


def _paint_lesions(air: np.ndarray, patient: Patient, grid: _Grid, z: float, fine: np.ndarray) -> None:
    """Nodules, cavities and consolidation, into the lung's HU: balls whose radius ripples with the place."""
    twice = patient.masses[:, [0, 1, 2, 0, 1, 2, 3, 3]]
    for centre, mass, ways, phases in zip(grid.rows(twice), patient.masses, *patient.ripple, strict=True):
        r, hollow, firm = map(float, mass[3:])
        if abs(mass[2] - z) > 1.6 * r:
            continue
        reach = 1.7 * centre[6] + 2
        x0, x1, y0, y1 = np.clip(
            [centre[0] - reach, centre[0] + reach, centre[1] - reach, centre[1] + reach], 0, grid.size
        ).astype(int)
        window = (slice(y0, y1), slice(x0, x1))
        dx, dy, dz = (grid.x[window] - mass[0]) / r, (grid.y[window] - mass[1]) / r, (z - mass[2]) / r
        ripple = np.zeros_like(dx)
        for (a, b, c), phase in zip((2.2 if firm == 1 else 3.5) * ways, phases, strict=True):
            ripple += np.cos(a * dx + b * dy + (c * dz + phase))
        depth = 1 - np.sqrt(dx**2 + dy**2 + dz**2) + (0.05 if firm == 1 else 0.13) * ripple
        if firm < 1:  # consolidation: its border is fuzzy
            render.mix(air[window], 10.0, np.clip((depth + 0.12 * fine[window]) * (0.5 / firm), 0, 0.95))
            continue
        render.mix(air[window], 30.0, np.clip(0.5 + depth * (r / max(grid.pixel, 1.2)), 0, 1))
        if hollow:
            render.mix(air[window], -960.0, np.clip(0.5 + (depth - (1 - hollow)) * (r / 1.5), 0, 1))
