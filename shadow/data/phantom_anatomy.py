"""The anatomy of a made-up patient: drawn once, and cut at any height. `phantom` draws pictures of it.

Lengths are millimetres: x to the right of the image, y to the back, z downwards from the top of the arch.
A capsule is a row (x0, y0, z0, x1, y1, z1, r0, r1): a segment with a radius at either end.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

ANGLES = 2048  # entries of a table over the angle about the chest's axis; 0 is the front
THETA = (np.arange(ANGLES) + 0.5) * (2 * np.pi / ANGLES) - np.pi
ROWS = np.arange(-170.0, 170.0, 0.5)  # y of the entries of a table over the rows
_LEVELS = 11  # of branching in a vessel tree


def _bell(x: np.ndarray | float, centre: float, width: float) -> np.ndarray:
    return np.exp(-(((np.asarray(x) - centre) / width) ** 2))


def _by(point: np.ndarray, *step: float) -> np.ndarray:
    return point + np.asarray(step)


class Patient:
    """One patient's anatomy: everything that is drawn once, and the outlines as functions of z."""

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self.half_width, self.half_depth = u(112, 150), u(78, 108)
        self.square = u(2.1, 2.6)  # exponent of the chest's superellipse
        self.lean = u(-0.07, 0.07)  # one half of the chest is wider
        self.apex = u(0.66, 0.82)
        self.build, self.fat = u(0.6, 1.4), 5 + 42 * rng.beta(1.4, 2.2)
        self.breast = u(15, 50) if u() < 0.4 else 0.0
        self.waves = np.stack([u(-1, 1, 9), u(0, 2 * np.pi, 9), u(-0.012, 0.012, 9)])
        self.rib_gap, self.rib_drop, self.rib_phase = u(21, 28), u(60, 100), u(0, 28, 2)
        self.vertebra, self.vertebra_phase, self.vertebra_gap = u(12.5, 16.5), u(0, 25), u(20, 26)
        self.roll = np.deg2rad(rng.normal(0, 4))
        self.back = self.half_depth + 32 + 0.5 * self.fat + u(0, 8)
        body = 2 * (self.half_width + 22 + 0.8 * self.fat)
        self.view = float(np.clip(body * u(0.84, 1.08), 270, 480))
        self.shift = rng.normal(0, 0.02, 2) * self.view + [0, -12]
        self.circle = u(0.49, 0.52) * self.view if u() < 0.2 else np.inf
        self.couch = u(350, 900), u(2, 9), u(18, 45), u(-800, -200)  # curve, gap, thickness, HU
        self.sheet = u(4, 25), u(-900, -700)
        self.contrast = u(30, 220) if u() < 0.5 else 0.0
        self.lung_hu, self.slope, self.mottle = rng.normal(-880, 18), u(0.1, 0.5), u(5, 14)
        self.noise, self.blur = u(8, 34), u(0.15, 0.6)
        self.coarse = rng.standard_normal((12, 14, 14), dtype=np.float32)
        self.fine = rng.standard_normal((30, 72, 72), dtype=np.float32)
        self.domes = [
            (-0.48 * self.half_width, u(-25, -5), u(138, 180), u(0.66, 0.8) * self.half_width, u(35, 60)),
            (0.52 * self.half_width, u(-20, 0), u(148, 192), u(0.58, 0.72) * self.half_width, u(35, 60)),
        ]
        self.stomach = (u(), u(14, 30))
        self.thymus = u(0.6, 0.85), u(2, 15)
        self._great_vessels(rng)
        self._lungs(rng)
        self._lesions(rng)

    # -- outlines as functions of z -----------------------------------------------------------------------

    def wave(self, first: int, z: float) -> np.ndarray:
        """A slow random function of the angle, about -1 to 1, out of harmonics `first` to `first` + 2."""
        k = np.arange(first, first + 3)[:, None]
        size, phase, drift = self.waves[:, first : first + 3, None]
        return (size * np.cos((k + 1) * THETA + phase + drift * z)).sum(0) / 1.5

    def _grown(self, z: np.ndarray | float) -> np.ndarray:
        """The chest's width over its full width: it tapers to the top."""
        return 1 - (1 - self.apex) * np.exp(-np.maximum(z + 45.0, 0) / 48)

    def cavity(self, z: float, theta: np.ndarray | None = None) -> np.ndarray:
        """Radius of the inside of the rib cage over the angle."""
        angle = THETA if theta is None else theta
        grown = self._grown(z)
        side = np.abs(np.sin(angle)) / (self.half_width * grown * (1 + self.lean * np.sign(np.sin(angle))))
        front = np.abs(np.cos(angle)) / (self.half_depth * (0.25 + 0.75 * grown))
        radius = (side**self.square + front**self.square) ** (-1 / self.square)
        return radius - 13 * _bell(np.pi - np.abs(angle), 0, 0.26) - 5 * _bell(angle, 0, 0.3)

    def walls(self, z: float) -> tuple[np.ndarray, ...]:
        """Radii over the angle: the pleura, the outside of the ribs, of the muscle and of the skin."""
        at, high = np.abs(THETA), float(np.exp(-((z / 110) ** 2)))
        cavity = self.cavity(z) * (1 + 0.012 * self.wave(2, z))
        ribs = cavity + 11
        muscle = 3 + 15 * high * _bell(at, 0.7, 0.4) + (6 + 20 * high) * _bell(at, 1.75, 0.5)
        muscle += (4 + 16 * high) * _bell(at, 2.3, 0.35)
        muscle += 17 * _bell(at, 2.8, 0.3) + 24 * _bell(at, np.pi, 0.35)
        muscle += 40 * np.exp(-(((z + 10) / 45) ** 2)) * _bell(at, 1.65, 0.45)  # the shoulder's root
        muscle = ribs + muscle * (0.75 + 0.25 * self.build) * (1 + 0.12 * self.wave(5, z))
        fat = 2.5 + self.fat * (0.45 + 0.35 * _bell(at, 0, 0.5) + 0.45 * _bell(at, 1.7, 0.6))
        fat = fat * (1 + 0.11 * self.wave(0, z)) + self.breast * _bell(at, 0.72, 0.33) * _bell(z, 110, 60)
        skin = muscle + np.maximum(fat, 2)
        # The back is pressed flat by the couch, which is level however the patient is rolled.
        down = -np.cos(THETA + self.roll)
        flat = np.where(down > 0.05, self.back / np.maximum(down, 0.05), 1e4)
        skin = -6 * np.logaddexp(-skin / 6, -flat / 6)
        return cavity, ribs, np.minimum(muscle, skin - 3), skin

    def rib_thickness(self, z: float) -> tuple[np.ndarray, np.ndarray]:
        """Half thickness over the angle of what is cut of ribs, and of shoulder blades."""
        side = np.where(THETA > 0, self.rib_phase[0], self.rib_phase[1])
        off = z - side - self.rib_drop * (1 + np.cos(THETA)) / 2
        off = (off + self.rib_gap / 2) % self.rib_gap - self.rib_gap / 2
        ribs = 4.2 * np.sqrt(np.clip(1 - (off / 5.4) ** 2, 0, 1)) * (np.abs(THETA) < 2.85)
        reach = 0.5 * np.sqrt(max(1 - (z + 20) / 130, 0))
        blade = 3.2 * np.sqrt(np.clip(1 - ((np.abs(THETA) - 2.18) / max(reach, 1e-3)) ** 2, 0, 1))
        return ribs, blade * (1 + 0.9 * _bell(np.abs(THETA), 2.18 - reach, 0.12))

    def borders(self, z: float) -> tuple[np.ndarray, np.ndarray]:
        """x of the mediastinum's right-lung and left-lung borders, over the rows: what hugs its vessels."""
        front = -self.half_depth
        half = 2.5 + np.clip(front * self.thymus[0] - ROWS, 0, self.thymus[1])
        half += 7 * _bell(ROWS, self.spine - 22, 14)
        half += 9 * np.exp(-(((z + 10) / 40) ** 2)) * ((front * 0.6 < ROWS) & (self.spine > ROWS))
        half = np.maximum(half, np.clip((ROWS - self.spine - 9) * 1.3 + self.vertebra + 4, 0, 34))
        middle = self.tilt * _bell(ROWS, front, 50)
        right, left = middle - half, middle + half
        reach = self.balls[:, 3] ** 2 - (self.balls[:, 2] - z) ** 2
        x, y, _, _ = self.balls[reach > 0].T
        inside = reach[reach > 0][:, None] - (ROWS - y[:, None]) ** 2
        chord = np.where(inside > 0, np.sqrt(np.maximum(inside, 0)), -1e3)
        right = np.minimum(right, (x[:, None] - chord).min(0, initial=0))
        left = np.maximum(left, (x[:, None] + chord).max(0, initial=0))
        return ndimage.gaussian_filter1d(right, 11), ndimage.gaussian_filter1d(left, 11)

    # -- what is drawn once -------------------------------------------------------------------------------

    def _great_vessels(self, rng: np.random.Generator) -> None:
        u, wide = rng.uniform, self.half_width / 130
        self.spine = self.half_depth - 30 - u(0, 6)  # y of the vertebral bodies' middle
        s, self.tilt = self.spine, u(-8, 14)
        arch, valve, a, p = u(22, 48), u(95, 120), u(11.5, 17), u(11, 15)  # two heights, two radii
        self.carina = arch + u(18, 34)
        rise, fall = np.array([u(-20, -8), u(-32, -18)]), np.array([u(18, 30), s - u(10, 18)])
        bend = [rise, _by(rise * 0.65 + fall * 0.35, 4, 0), _by(rise * 0.25 + fall * 0.75, 5, 0), fall]
        tops = [arch + 22, arch + 4, arch, arch + 16]
        trunk = np.array([u(12, 22), u(-40, -28)])
        vessels = [[*rise * 0.7, valve, *bend[0], tops[0], a, a]]
        vessels += [[*bend[i], tops[i], *bend[i + 1], tops[i + 1], a, a * 0.92] for i in range(3)]
        vessels += [
            [*fall, arch + 16, u(8, 20), s - u(14, 22), 260, a * 0.85, a * 0.72],
            [*trunk, valve + 5, *_by(trunk, 4, 12), self.carina + 14, p, p],
            [*_by(trunk, 4, 14), self.carina + 16, 46 * wide, s * 0.25, self.carina + 14, p * 0.9, p * 0.6],
            [*_by(trunk, 2, 12), self.carina + 20, -44 * wide, u(-4, 6), self.carina + 26, p * 0.85, p * 0.6],
            # The upper cava, the three branches of the arch, the gullet.
            [u(-32, -24), u(-28, -16), -60, u(-32, -24), u(-22, -10), valve + 15, 7.5, u(8, 11)],
            [*_by(rise, 6, 4), arch, -16, -8, -60, 7, 5.5],
            [*_by(bend[1], 6, -2), arch, 6, u(-8, 0), -60, 5.5, 4],
            [*_by(bend[2], 6, -4), arch, 18, u(4, 12), -60, 6, 4.5],
            [u(-8, 6), s - 23, -60, u(-2, 10), s - 26, 280, 6, 7],
        ]
        grow = u(0.78, 1.25)  # heart size
        apex = np.array([u(38, 60), u(-48, -18)]) * grow
        top = valve + 12
        self.hearts = np.array(
            [
                [8, -8, top + 22, *apex, top + u(48, 70), 33 * grow, 24 * grow],  # left ventricle
                [-8, -34 * grow, top + 12, *_by(apex, -18, -10), top + u(50, 66), 29 * grow, 22 * grow],
                [-26, -16, top + 5, -24 * grow, -14, top + 48, 22 * grow, 25 * grow],  # right atrium
                [-14, 8, top + 5, 14, 8, top + 14, 20 * grow, 20 * grow],  # left atrium
                [-22, 0, top + 48, -24, 6, 280, 13, 12],  # lower cava
            ]
        )
        self.vessels = np.array(vessels)
        t = np.linspace(0, 1, 14)[:, None, None]
        every = np.concatenate([self.vessels, self.hearts])
        points = every[None, :, :3] * (1 - t) + every[None, :, 3:6] * t
        radii = every[None, :, 6:7] * (1 - t) + every[None, :, 7:8] * t + 3.5
        self.balls = np.concatenate([points, radii], 2).reshape(-1, 4)
        x, y, r = u(-3, 6), s * 0.35 - u(2, 8), u(7.5, 10.5)
        fork = np.array([x, y + 4, self.carina])
        self.hila = np.array([[-42 * wide, y + 2, self.carina + 22], [42 * wide, y + 6, self.carina + 30]])
        self.windpipe = np.array(
            [[x, y - 10, -60, *fork, r, r]] + [[*fork, *hilum, r * 0.75, r * 0.55] for hilum in self.hila]
        )

    def _inside_lung(self, rng: np.random.Generator, side: float, count: int, low: float, high: float) -> np.ndarray:
        """`count` random points [count, 3] of one lung (`side` -1 or 1), z between `low` and `high`."""
        found: list[np.ndarray] = []
        while sum(map(len, found)) < count:
            z = rng.uniform(low, high, 2 * count)
            theta = side * rng.uniform(0.05, np.pi - 0.08, 2 * count)
            rho = self.cavity(1e3, theta) * self._grown(z) * np.sqrt(rng.uniform(0.02, 0.97, 2 * count))
            x, y = rho * np.sin(theta), -rho * np.cos(theta)
            heart = np.hypot(x - 18, y + 22) < 20 + 34 * _bell(z, 165, 50)
            found.append(np.stack([x, y, z], 1)[(np.abs(x) > 20) & ~heart])
        return np.concatenate(found)[:count]

    def _tree(self, rng: np.random.Generator, root: np.ndarray, points: np.ndarray, radius: float) -> np.ndarray:
        """Capsules of a tree from `root` that reaches 2 ** _LEVELS points, halving the crowd at each fork."""
        groups, nodes, parts = points[None], root[None], []
        for level in range(_LEVELS + 1):
            share = 0.22 if level == 0 else 0.45 if level < _LEVELS else 0.95
            tips = nodes + share * (groups.mean(1) - nodes)
            thick = radius * 2 ** (-level / 3.0) * np.exp(rng.normal(0, 0.12, len(tips)))[:, None]
            step = np.linalg.norm(tips - nodes, axis=1, keepdims=True)
            knee = (nodes + tips) / 2 + rng.normal(0, 0.09, tips.shape) * step
            parts += [np.hstack([nodes, knee, thick, thick * 0.93])]
            parts += [np.hstack([knee, tips, thick * 0.93, thick * 0.82])]
            if level == _LEVELS:
                break
            aim = groups.std(1) * rng.uniform(0.5, 1.5, (len(tips), 3)) * [1, 1, 0.7]
            aim = np.where(aim == aim.max(1, keepdims=True), 1.0, rng.normal(0, 0.3, aim.shape))
            order = np.argsort((groups * aim[:, None]).sum(2), axis=1, kind="stable")
            groups = np.take_along_axis(groups, order[:, :, None], 1)
            groups = groups.reshape(2 * len(tips), -1, 3)
            nodes = np.repeat(tips, 2, axis=0)
        return np.concatenate(parts)

    def _lungs(self, rng: np.random.Generator) -> None:
        vessels, airways = [], []
        for side, hilum in zip((-1.0, 1.0), self.hila, strict=True):
            points = self._inside_lung(rng, side, 2 << _LEVELS, -45, 265)
            thick = rng.uniform(5.2, 8)
            artery = self._tree(rng, _by(hilum, side * 2, -3, -6), points[::2], thick)
            vein = self._tree(rng, _by(hilum, 0, -4, 22), points[1::2], thick * 0.9)
            vessels += [artery, vein]
            airway = artery[: 2 * (2**4 - 1)].copy()  # bronchi run beside the first forks of the arteries
            beside = rng.normal(0, 1, 3)
            beside *= 1.6 / np.linalg.norm(beside)
            airway[:, :3] += beside * airway[:, 6:7]
            airway[:, 3:6] += beside * airway[:, 7:8]
            airway[:, 6:] *= rng.uniform(0.45, 0.65)
            airways.append(airway)
        self.tree, self.airways = np.concatenate(vessels), np.concatenate(airways)

    def _lesions(self, rng: np.random.Generator) -> None:
        """Tuberculosis, mostly of the upper lungs: `masses`, rows (x, y, z, radius, hollow, firmness).

        Tree-in-bud (budding twigs in clusters) joins the vessel trees.
        """
        load = rng.choice([0.0, 0.5, 1.0, 2.2], p=[0.15, 0.35, 0.3, 0.2])
        masses, buds = [], []
        kinds = zip((5.0, 0.8, 1.3, 1.6), ("nodule", "cavity", "patch", "buds"), strict=True)
        for mean, kind in kinds:
            for _ in range(rng.poisson(mean * load)):
                side = rng.choice([-1.0, 1.0])
                low = -20.0 if rng.uniform() < 0.7 else 60.0
                spot = self._inside_lung(rng, side, 1, low, low + 130)[0]
                if kind == "nodule":
                    masses.append([*spot, np.exp(rng.normal(1.35, 0.5)), 0.0, 1.0])
                elif kind == "cavity":
                    masses.append([*spot, rng.uniform(9, 26), rng.uniform(0.5, 0.78), 1.0])
                elif kind == "patch":
                    masses.append([*spot, rng.uniform(12, 42), 0.0, rng.uniform(0.08, 0.3)])
                else:
                    count, reach = rng.integers(25, 90), rng.uniform(7, 20)
                    tips = spot + rng.normal(0, reach, (count, 3))
                    twig = tips + rng.normal(0, 3.0, (count, 3))
                    thick = rng.uniform(0.7, 1.1, (count, 1))
                    buds.append(np.hstack([twig, tips, thick * 0.7, thick * 1.7]))
        self.masses, self.tree = np.array(masses).reshape(-1, 6), np.concatenate([self.tree, *buds])
        self.ripple = rng.normal(0, 1, (len(masses), 7, 3)), rng.uniform(0, 6.3, (len(masses), 7))
