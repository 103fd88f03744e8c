"""What one more pile cannot be measured by is named, with the reason."""

import pytest

from attack.compare import blackbox, table


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


def test_a_reason_is_said_once_with_whom_it_concerns():
    def one(label, **parts):
        return {"label": label, "features": {}, "loss": {}, "whitebox": {}, "pile": {}, "blackbox": {}} | parts

    own, why = {"left_out": {"supplied": {"not_comparable": "no vectors"}}}, {"not_comparable": "no members"}
    pair = {"a": "A", "b": "B", "parameters": {"not_comparable": "other sizes"}, "blackbox": {}}
    result = {"checkpoints": [one("A", blackbox=own), one("B", blackbox=own, loss=why)], "pairs": [pair]}
    assert table.reasons(result) == [
        "every checkpoint: blackbox, left out, supplied: not comparable: no vectors",
        "B: loss: not comparable: no members",
        "B against the first: parameters: not comparable: other sizes",
    ]
