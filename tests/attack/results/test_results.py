"""Typed results and their JSON: what is written is read back, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attack import results, stages
from attack.baselines.alone.baseline_figures import BaselineFigures
from attack.results import AgainstTruth, Evaluation, FitSummary
from attack.results.checkpoints import CheckpointFigures
from attack.results.compared import Comparison
from attack.results.labellings import Ppv
from shadow.errors import UserError

PATH = Path("attack/evaluation.json")
SCALARS = {
    int: st.integers(-(2**40), 2**40),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=5),
    bool: st.booleans(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that results are made of."""
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = {f.name: values(hints[f.name]) for f in dataclasses.fields(kind) if f.name != "schema_version"}
        return st.builds(kind, **fields)
    if origin in (Union, types.UnionType):
        return st.one_of(st.none() if each is type(None) else values(each) for each in inner)
    if origin is tuple:
        return (
            st.lists(values(inner[0]), max_size=2).map(tuple) if inner[1:] == (...,) else st.tuples(*map(values, inner))
        )
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), values(inner[1]), max_size=2)
    return SCALARS[kind]


FITTED, EVALUATED = values(FitSummary), values(Evaluation)
ANY = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize(("kind", "every"), [(FitSummary, FITTED), (Evaluation, EVALUATED)])
def test_what_is_written_is_read_back(kind, every):
    @ANY
    @given(every)
    def check(found):
        text = json.dumps(found.to_json(), allow_nan=False)
        assert kind.from_json(json.loads(text), PATH) == found

    check()


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """A FitSummary in JSON."""
    auc = {"auc": 0.8, "interval": (0.7, 0.9), "prediction_interval": (0.6, 1.0), "within_shadow": (0.8,)}
    two_way = results.TwoWay(
        **auc,
        pairs=4,
        members=2,
        non_members=2,
        tpr_at_fpr=(results.Rate(fpr=0.1, why="too few"),),
        strata=(),
        brier=0.2,
        log_loss=0.5,
        ece=0.1,
        reliability=(),
        nearness=results.Nearness(edges=(0.0,), target=(1.0,), shadows=(1.0,), thin=0.0),
    )
    return FitSummary(
        shadows_asked=2,
        shadows_used=1,
        shadows_missing=(1,),
        pile_size=10,
        target_pile=10,
        two_way=two_way,
        patients=results.Patients(why="nobody is named"),
        null=results.Null(known=3, unknown=0, presumed=False),
        controls=(),
        families=None,
        worth=None,
        signals=(),
        regime=results.Regime(step=9, distance=0.1, statistic=(), inside=True, excess=0.0, message="as the shadows"),
        flips=results.FlipsFound(names=(), share={"left_right": 1.0}),
        prior=0.5,
        fpr=0.1,
        threshold_used=None,
        threshold_not_used=None,
        priors=(),
    ).to_json()


def refused(content: dict[str, Any], change) -> str:
    """What is said of the content after a change."""
    altered = json.loads(json.dumps(content))
    change(altered)
    with pytest.raises(UserError) as error:
        FitSummary.from_json(altered, PATH)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("prior"), "field prior is missing"),
        (lambda c: c.pop("schema_version"), "field schema_version is missing"),
        (lambda c: c["two_way"].pop("ece"), "field two_way.ece is missing"),
        (lambda c: c["two_way"]["tpr_at_fpr"][0].pop("why"), "field two_way.tpr_at_fpr[0].why is missing"),
        (lambda c: c.update(extra=1), "field extra is unknown"),
        (lambda c: c["two_way"]["nearness"].update(extra=1), "field two_way.nearness.extra is unknown"),
        (lambda c: c.update(schema_version=99), "field schema_version is 99, and 1 can be read"),
        (lambda c: c.update(prior="half"), "field prior should be a number, not 'half'"),
        (lambda c: c.update(prior=None), "field prior should be a number, not None"),
        (lambda c: c.update(prior=float("nan")), "field prior should be a number, not nan"),
        (lambda c: c.update(pile_size=1.5), "field pile_size should be a whole number, not 1.5"),
        (lambda c: c.update(pile_size=True), "field pile_size should be a whole number, not True"),
        (lambda c: c["null"].update(presumed=0), "field null.presumed should be true or false, not 0"),
        (lambda c: c["regime"].update(message=3), "field regime.message should be a text, not 3"),
        (lambda c: c.update(null=[]), "field null should be an object, not []"),
        (lambda c: c.update(controls={}), "field controls should be a list, not {}"),
        (lambda c: c["two_way"].update(interval=[0.1]), "field two_way.interval should have 2 entries, not 1"),
        (lambda c: c["flips"]["share"].update(left_right=""), "field flips.share.left_right should be a number"),
    ],
)
def test_what_does_not_fit_is_named(content, change, said):
    found = refused(content, change)
    assert found.startswith(f"{PATH}: {said}")
    assert found.endswith("; fit again")


def test_a_whole_number_may_stand_for_any_number(content):
    found = FitSummary.from_json(content | {"prior": 1, "priors": []}, PATH)
    assert (found.prior, type(found.prior)) == (1.0, float)


def test_a_file_that_is_no_evaluation_is_named(content, tmp_path):
    path = tmp_path / "evaluation.json"
    for text, said in (
        ("no", "cannot be read"),
        ("[]", "it should be an object"),
        (json.dumps(content), "field dev is"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said) as error:
            Evaluation.read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert str(error.value).endswith("; predict again")
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        Evaluation.read(path)


def test_keys_that_are_no_names_are_kept():
    assert results.encode(results.Decisions(used=1, not_used=2, undetermined=3)) == {
        "used": 1,
        "not used": 2,
        "undetermined": 3,
    }
    expected = results.decode(results.Expected, {"auc": None, "interval": None, "why": "few", "from": "dev"})
    assert expected.source == "dev"


def test_a_stage_is_done_again_where_its_results_have_another_schema(tmp_path, content):
    stage = next(stage for stage in stages.STAGES if stage.name == "fit")
    assert not stage.made(tmp_path)
    (tmp_path / "attack").mkdir()
    for name in stage.makes:
        (tmp_path / name).touch()
    path = tmp_path / "attack" / "fit.json"
    for text, done in (
        ("", False),
        ("{}", False),
        (json.dumps(content | {"schema_version": 0}), False),
        (json.dumps(content), True),
    ):
        path.write_text(text)
        assert stage.made(tmp_path) == done


@pytest.mark.parametrize("kind", [AgainstTruth, BaselineFigures, CheckpointFigures, Comparison])
def test_what_others_may_read_is_read_back(kind):
    @settings(ANY, max_examples=5)
    @given(values(kind))
    def check(found):
        text = json.dumps(results.encode(found), allow_nan=False)
        assert results.decode(kind, json.loads(text)) == found

    check()


def test_what_has_nothing_to_say_is_left_out_and_read_back():
    known = results.Estimate(value=0.5, low=0.4, high=0.6)
    assert results.encode(known) == {"value": 0.5, "low": 0.4, "high": 0.6}
    absent = Ppv(value=None, low=None, high=None, prior=0.1, why="nobody was flagged")
    assert results.encode(absent).keys() == {"value", "low", "high", "prior", "why"}
    for found in (known, absent):
        assert results.decode(type(found), results.encode(found)) == found
    assert (known.interval, absent.interval) == ((0.4, 0.6), None)
