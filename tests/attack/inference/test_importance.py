"""What parts are worth, against what was planted, and the learning curve's sub-fleets."""

import dataclasses

import numpy as np
import pytest

from attack.inference import controls, crossfit, estimate
from attack.inference.ablation import importance, learning_curve, tables
from attack.inference.crossfit import HeldOut, Options
from shadow.config import MembershipConfig
from shadow.training import membership

OPTIONS = Options(8, 2, 0.1, 0)


def test_parts_are_signals_and_embeddings():
    names = ("mosaic@pixels", "mosaic@laplacian", "votes@pixels", "votes@highpass")
    found = {(p.kind, p.name): p.columns for p in importance.parts(names)}
    assert found == {
        ("signal", "mosaic"): (0, 1),
        ("signal", "votes"): (2, 3),
        ("embedding", "pixels"): (0, 2),
        ("embedding", "laplacian"): (1,),
        ("embedding", "highpass"): (3,),
    }
    assert importance.parts(("mosaic@pixels",)) == []


class Sum:
    """log odds: twice the first column plus the second."""

    def logit(self, z):
        return 2 * z[..., 0] + z[..., 1]


@pytest.fixture(scope="module")
def held():
    rng = np.random.default_rng(0)
    member = np.array([rng.permutation(60) < 30 for _ in range(6)])
    z = rng.normal(size=(6, 60, 3))
    z[..., 0] += 2.0 * member
    fold = np.arange(60) % 2
    return HeldOut(Sum().logit(z), z, ((Sum(), Sum()),) * 6, fold), member


def test_only_what_the_attack_reads_and_what_tells_is_important(held):
    found, member = held
    first, second, third = (importance.permuted(found, member, (j,), 0) for j in range(3))
    assert first[0] == pytest.approx(estimate.mean_within(found.logit, member) - 0.5, abs=0.08)
    assert -0.03 < second[0] < first[0] / 4
    assert third == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))
    assert 0 < first[1] < 0.05


def test_shuffled_columns_stay_together_and_within_their_shadow(held):
    found, member = held
    one, other = importance.permuted(found, member, (0, 1), 0), importance.permuted(found, member, (0, 1, 2), 0)
    assert one == other  # the third is not read
    swapped = dataclasses.replace(found, z=found.z[:, ::-1], logit=found.logit[:, ::-1], fold=found.fold[::-1])
    assert importance.permuted(swapped, member[:, ::-1], (0, 1), 0)[0] == pytest.approx(one[0], abs=0.08)


def test_figures_of_a_leak():
    data = controls.evidence_of(0.3, 0, controls.Size(test=4)).data
    found = tables.worth(data, OPTIONS, list(range(8)), 8)
    whole = crossfit.two_way(data, OPTIONS, 0)
    auc = estimate.mean_within(whole.logit, data.shadow_signals.member)
    assert found.curve[-1].auc == pytest.approx(auc)
    assert [row.shadows for row in found.curve] == [8]  # six of a block of eight leave too few references
    for row in found.parts:
        assert row.left_out < auc - 0.5 + 0.05
        assert 0.3 < row.alone <= 1
        assert row.left_out_error >= 0
    best = max((r for r in found.parts if r.kind == "signal"), key=lambda r: r.drop)
    assert best.drop > 0


def test_sub_fleets_are_whole_blocks_where_they_can_be():
    ids = [f"x{i}" for i in range(12)]
    member = membership.draw(ids, 32, MembershipConfig(unit="image", block=8), 0)
    found = learning_curve.sub_fleets(member, list(range(32)), 8, 16, 0)
    assert len(found) == 4
    for rows in found:
        assert [int((rows // 8 == b).sum()) for b in range(4)] in [
            [8 * (b in pair) for b in range(4)] for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
        ]
        assert (member[rows].sum(0) == 8).all()
    assert len({tuple(rows) for rows in found}) == 4
    assert learning_curve.sub_fleets(member, list(range(32)), 8, 4, 0) == []  # two shadows without an image are too few
    gone = [k for k in range(32) if k not in (3, 9, 17)]  # one whole block is left: any sixteen shadows then
    for rows in learning_curve.sub_fleets(member[gone], gone, 8, 16, 0):
        assert len(rows) == 16
        assert (~member[gone][rows]).sum(0).min() > 2
