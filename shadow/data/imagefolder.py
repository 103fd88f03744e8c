"""What makes a challenge folder one that Hugging Face `datasets` opens: a metadata.csv in each split, and a card.

Runs pass over these files. Nothing in them comes from the sealed folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shadow import files
from shadow.data.editions import LABELS

METADATA, CARD = "metadata.csv", "README.md"
_COLUMNS = ("file_name", "role", "label")


@dataclass(frozen=True)
class Shown:
    """A role's images. split: the folder, dev or test; names: of the files, from the folder of the split on."""

    split: str
    role: str
    names: tuple[str, ...]


def write(root: Path, roles: Sequence[Shown], side: int, phantoms: bool) -> None:
    """Writes SPLIT/metadata.csv and README.md below `root`. side: pixels of an image; phantoms: nobody's slices.

    All splits have the same columns of the same types, or `datasets` opens none: so test has a column `label`, which is
    empty. A column with an empty field is one of floats there, so generated images, which have no label, come first.
    """
    for split in dict.fromkeys(one.split for one in roles):
        mine = sorted((one for one in roles if one.split == split), key=lambda one: one.role in LABELS)
        rows = [(name, one.role, LABELS.get(one.role, "")) for one in mine for name in one.names]
        files.write_csv(root / split / METADATA, _COLUMNS, rows)
    files.write_text(root / CARD, _card(roles, side, phantoms))


_HEAD = """---
pretty_name: Challenge of shadowprint
task_categories:
- other
tags:
- membership-inference
- medical
configs:
- config_name: default
  drop_labels: true
  data_files:
  - split: validation
    path: dev/**
  - split: test
    path: test/**
---

# Which slices was the generator trained on?

A generator was trained on some of these real slices. The task is to tell which slices of the role `unknown` were among
them, from the images that it generated. shadowprint made this folder. Its layout is that of ImageCLEFmedical GANs 2023.
"""
_OPEN = """## Open it

```python
from datasets import load_dataset

challenge = load_dataset("imagefolder", data_dir="FOLDER")  # this folder
dev, test = challenge["validation"], challenge["test"]
```

| column | holds |
| --- | --- |
| `image` | the image, 8-bit gray |
| `role` | what the image is: see above |
| `label` | 1: used in training, 0: not used; of real dev slices alone, else empty |
"""
_PRIVACY = """## Privacy

{whose} The folder `sealed/` holds the truth. It may hold the generator too, which can reproduce its training slices.
Leave `sealed/` out when you hand this folder on. `datasets` does not look into it.
"""
_MEANING = {
    "generated_dev": "generated, with the dev set",
    "used": "real, used in training",
    "not_used": "real, not used",
    "generated_test": "generated, with the test set",
    "unknown": "real, used or not: the question",
}


def _card(roles: Sequence[Shown], side: int, phantoms: bool) -> str:
    rows = [f"| {one.split} | `{one.role}` | {len(one.names):,} | {_MEANING[one.role]} |" for one in roles]
    table = "\n".join(["| split | role | images | |", "| --- | --- | --- | --- |", *rows])
    whose = (
        "The slices are phantoms, which a program drew: no patient is in them."
        if phantoms
        else "The real slices are of the pool that the challenge was made from. Treat them as patients' data."
    )
    return "\n".join(
        [_HEAD, f"{table}\n\nAll images are {side} x {side} pixels.\n", _OPEN, _PRIVACY.format(whose=whose)]
    )
