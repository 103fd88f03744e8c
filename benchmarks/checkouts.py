"""Do two checkouts give the same results? Small runs of every kind by both, compared byte for byte.

python benchmarks/checkouts.py --before=DIR --after=DIR --root=DIR [--renamed=OLD:NEW,...]

Each checkout's own `launch.py` makes a challenge and attacks it (demo), attacks that folder again (folder), as data of
one's own (own), by baselines alone (baselines), with shadows that hold the candidates (online) and with two families
(families). predictions.csv and submission.csv must have the same bytes, and every figure of fit.json and
evaluation.json the same value. What is null counts as absent; `schema_version` may be new. `--renamed` names words
that were replaced. Exits with 1 where anything differs. Some minutes of processor time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shadow.errors import UserError, exits

_BEFORE = flags.DEFINE_string("before", None, "One checkout.", required=True)
_AFTER = flags.DEFINE_string("after", None, "The other.", required=True)
_ROOT = flags.DEFINE_string("root", None, "Folder of the runs.", required=True)
_RENAMED = flags.DEFINE_list("renamed", [], "OLD:NEW, words that were replaced.")

BYTES = ("predictions.csv", "submission.csv")
FIGURES = ("attack/fit.json", "attack/evaluation.json", "attack/baselines.json")
TINY = "tests/recipes/tiny.py"
_DEMO = (
    *("--config=configs/demo.py", "--config.train.steps=40", "--config.challenge.train.steps=60"),
    *("--config.pile.steps=(20,40)", "--config.pile.count=60", "--config.attack.pile=60"),
    *("--config.challenge.dev_generated=60", "--config.challenge.test_generated=80", "--config.attack.redraws=3"),
)


def cases(folder: Path, own: Path) -> dict[str, tuple[str, ...]]:
    """Options of every case. folder: a challenge; own: data of one's own."""
    tiny = f"--config={TINY}"
    return {
        "demo": _DEMO,
        "folder": (tiny, f"--config.data.root={folder}", "--config.attack.same_generator=auto"),
        "own": (
            *(tiny, f"--config.data.root={own}", "--config.data.edition=own"),
            "--config.attack.same_generator=auto",
        ),
        "baselines": ("--config=configs/baselines.py", f"--config.data.root={folder}"),
        "online": (tiny, f"--config.data.root={folder}", "--config.membership.candidates=true"),
        "families": (
            *("--config=configs/families.py", f"--config.data.root={folder}", "--config.train.steps=10"),
            *("--config.pile.count=30", "--config.attack.pile=30"),
        ),
    }


def launch(checkout: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "launch.py", *arguments], cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def as_own(challenge: Path, own: Path) -> None:
    """The challenge's folders by the names of edition `own`. The truth stays away."""
    for source, name in (
        ("test/generated_1", "generated"),
        ("test/real_unknown_1", "candidates"),
        ("dev/not_used", "not_used"),
    ):
        shutil.copytree(challenge / source, own / name)


def leaves(node: Any, renamed: dict[str, str], at: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not null, with its place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "schema_version":
                yield from leaves(value, renamed, f"{at}/{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from leaves(value, renamed, f"{at}/{i}")
    elif node is not None:
        yield at, renamed.get(node, node) if isinstance(node, str) else node


def differences(before: Path, after: Path, renamed: dict[str, str]) -> list[str]:
    """What is not the same in two runs."""
    found = [name for name in BYTES if (before / name).read_bytes() != (after / name).read_bytes()]
    for name in FIGURES:
        if not (before / name).exists() and not (after / name).exists():
            continue
        old, new = (dict(leaves(json.loads((run / name).read_text()), renamed)) for run in (before, after))
        found += [f"{name}{place}" for place in sorted({*old, *new}) if old.get(place) != new.get(place)]
    return found


def main(_: list[str]) -> None:
    root, checkouts = Path(_ROOT.value).resolve(), [Path(c).resolve() for c in (_BEFORE.value, _AFTER.value)]
    for checkout in checkouts:
        if not (checkout / "launch.py").exists():
            raise UserError(f"{checkout} is no checkout: it holds no launch.py")
    renamed = dict(pair.split(":", 1) for pair in _RENAMED.value)
    folder, own = root / "before" / "demo" / "challenge", root / "own"
    wrong = 0
    for name, options in cases(folder, own).items():
        for side, checkout in zip(("before", "after"), checkouts, strict=True):
            launch(checkout, "run", *options, f"--workdir={root / side / name}")
        if name == "demo":
            as_own(folder, own)
        found = differences(root / "before" / name, root / "after" / name, renamed)
        wrong += bool(found)
        print(f"{name:10} {'the same' if not found else f'{len(found)} differ: ' + ', '.join(found[:5])}", flush=True)
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    with exits(lambda: str(_ROOT.value)):
        app.run(main)
