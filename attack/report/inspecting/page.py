"""inspect.html: one self-contained file, the same bytes for the same folder, no machine named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from markupsafe import Markup

from attack.report import gallery, pages
from attack.report.inspecting import drawings, looks
from shadow.config import Config
from shadow.data import editions
from shadow.data.inspection import MOST, Copies, Facts, RoleFacts

_MOST_COPIES = 20  # pictures that are listed with their files
_MOST_FILES = 4  # of one picture

Table = list[list[str]]
Plot = tuple[Markup, str, str]  # the drawing, its title, its caption


def shows_pictures(config: Config, private: bool) -> bool:
    """Does the page show images? Unasked those of nobody, phantoms of a run's own challenge; `private`: not such."""
    if config.report.gallery == "auto":
        return not private and config.challenge.pool == "phantom"
    return gallery.is_shown(config)


def render(facts: Facts, pictures: bool) -> str:
    """The page of a folder; `pictures`: with a contact sheet of every role."""
    real = [one for one in facts.roles if one.role in editions.REAL]
    generated = [one for one in facts.roles if one.role in editions.GENERATED]
    seen = [looks.look(facts.found, one.role) for one in facts.roles]
    others = [one.role for one in real]
    return pages.template("inspect.html", Path(__file__).parent).render(
        facts=facts,
        refused=any(one.refused for one in facts.copies),
        cards=_cards(facts, real, generated),
        role_head=["role", "folder", "images", "expected", "pixels", "stored as"],
        role_rows=[_role_row(one) for one in facts.roles],
        gray_head=["role", "mean gray", "spread", "levels", "black", "looked at"],
        gray_rows=[_gray_row(one) for one in facts.roles],
        plots_of_looks=_plots(seen),
        copies_head=["role", *(one.role for one in facts.roles)],
        copies_rows=_copies_rows(facts),
        copies=[_listed(one) for one in facts.copies[:_MOST_COPIES]],
        copies_left=max(0, len(facts.copies) - _MOST_COPIES),
        group_head=["role", "groups", "median", "largest", "alone", *(f"also in {name}" for name in others)],
        group_rows=_group_rows(facts, others),
        sheets=[(one.role, gallery.sheet(looks.pictures(facts.found, one.role))) for one in facts.roles]
        if pictures
        else [],
    )


def _cards(facts: Facts, real: Sequence[RoleFacts], generated: Sequence[RoleFacts]) -> list[tuple[str, str, str]]:
    """(what, how many, of what) for the head of the page."""
    groups = set(facts.found.group[facts.found.group != ""].tolist())
    pixels = {size for one in real for size, _ in one.sizes}, {size for one in generated for size, _ in one.sizes}
    across = sum(len(one.roles) > 1 for one in facts.copies)
    return [
        ("Real slices", f"{sum(one.count for one in real):,}", f"{', '.join(sorted(pixels[0]))} pixels"),
        ("Generated images", f"{sum(one.count for one in generated):,}", f"{', '.join(sorted(pixels[1]))} pixels"),
        ("Groups of real slices", f"{len(groups):,}", facts.grouped_by),
        ("Pictures there twice", f"{len(facts.copies):,}", f"{across:,} of them in more than one role"),
    ]


def _role_row(one: RoleFacts) -> list[str]:
    modes = ", ".join(f"{mode} ({count:,})" if len(one.modes) > 1 else mode for mode, count in one.modes)
    sizes = ", ".join(size for size, _ in one.sizes)
    return [one.role, one.folder, f"{one.count:,}", f"{one.expected:,}" if one.expected else "any", sizes, modes]


def _gray_row(one: RoleFacts) -> list[str]:
    figures = [f"{one.mean:.1f}", f"{one.spread:.1f}", f"{one.levels:.0f}", f"{100 * one.black:.0f} %"]
    return [one.role, *figures, f"{min(MOST, one.count):,}"]


def _plots(seen: Sequence[looks.Look]) -> list[Plot]:
    real = [one for one in seen if looks.is_real(one)]
    piles = [one for one in seen if not looks.is_real(one)]
    base = looks.together("real", real)
    plots = [
        (
            drawings.grays([base, *piles], "grays"),
            "Gray values of generated and real images",
            "Filled: all real slices. Another window, or few levels, sets generated images apart by itself.",
        ),
        (
            drawings.spectra(piles, base, "spectra"),
            "Detail of generated and real images",
            "1 is as much as in real slices. Below it at the right: generated images are smoother.",
        ),
    ]
    if len(real) > 1:
        plots += [
            (
                drawings.grays(real, "grays of roles"),
                "Gray values of the real roles",
                "They should be of one kind: an attack would see the scanner, and not the training.",
            ),
            (
                drawings.spectra(real, base, "spectra of roles"),
                "Detail of the real roles",
                "1 is the mean of all real slices. A role far from it comes from elsewhere.",
            ),
        ]
    return plots


def _copies_rows(facts: Facts) -> Table:
    """Pictures that two roles share; on the diagonal those that one role has twice."""
    rows = []
    for one in facts.roles:
        cells = []
        for other in facts.roles:
            same = one.role == other.role
            count = sum(_shared(copy, one.role, other.role, same) for copy in facts.copies)
            cells.append(f"{count:,}" if count else "–")
        rows.append([one.role, *cells])
    return rows


def _shared(copy: Copies, role: str, other: str, same: bool) -> bool:
    count = Counter(name for name, _ in copy.files)
    return count[role] > 1 if same else bool(count[role] and count[other])


def _listed(copy: Copies) -> tuple[list[str], int, str]:
    """The first files of a picture, how many more there are, and why a run refuses them."""
    return [path for _, path in copy.files[:_MOST_FILES]], max(0, len(copy.files) - _MOST_FILES), copy.refused


def _group_rows(facts: Facts, others: Sequence[str]) -> Table:
    """Of every real role: its groups, slices without a relative anywhere, and those with one in another role."""
    found = facts.found
    groups = {role: Counter(found.group[found.rows(role)].tolist()) for role in others}
    everywhere: Counter[str] = sum(groups.values(), Counter())
    rows = []
    for role in others:
        mine = groups[role]
        total = sum(mine.values())
        alone = sum(everywhere[group] == 1 for group in mine)
        cells = [
            "–"
            if other == role
            else _share(sum(count for group, count in mine.items() if group in groups[other]), total)
            for other in others
        ]
        sizes = [f"{len(mine):,}", f"{median(mine.values()):g}", f"{max(mine.values()):,}", _share(alone, total)]
        rows.append([role, *sizes, *cells])
    return rows


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.0f} %)"
