"""What one more pile cannot be measured by is named, with the reason."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from attack.compare import blackbox, table
from attack.results.checkpoints import NotComparable

PARTS = ("features", "loss", "whitebox", "pile", "blackbox")


@pytest.mark.parametrize(
    ("embeddings", "signals", "columns", "left_out"),
    [
        (("pixels",), ("nearest", "ratio"), (("nearest", "pixels"), ("ratio", "pixels")), set()),
        (("pixels", "supplied"), ("nearest",), (("nearest", "pixels"),), {"supplied"}),
        (("supplied",), ("nearest",), (), {"supplied", "nearest"}),
    ],
)
def test_each_option_is_measured_or_named(embeddings, signals, columns, left_out):
    own, why = blackbox._of_one_pile(embeddings, signals)
    assert own.columns == columns
    assert set(why) == left_out
    assert all(why.values())


@dataclass(frozen=True)
class Part:
    """Figures of which some part may be missing."""

    left_out: dict[str, NotComparable] = field(default_factory=dict)
    auc: None = None


def test_a_reason_is_said_once_with_whom_it_concerns():
    def one(label, **parts):
        return SimpleNamespace(label=label, **dict.fromkeys(PARTS, Part()) | parts)

    own, why = Part({"supplied": NotComparable("no vectors")}), NotComparable("no members")
    pair = SimpleNamespace(a="A", b="B", parameters=NotComparable("other sizes"), blackbox=Part())
    checkpoints = one("A", blackbox=own), one("B", blackbox=own, loss=why)
    assert table.reasons(SimpleNamespace(checkpoints=checkpoints, beside_first=[pair])) == [
        "every checkpoint: blackbox, left out, supplied: not comparable: no vectors",
        "B: loss: not comparable: no members",
        "B against the first: parameters: not comparable: other sizes",
    ]
