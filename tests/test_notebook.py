"""The notebook of docs/: as it is shipped, with its outputs, and run anew."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "privacy_check.ipynb"
MOST_BYTES = 400_000
RUN = """
import json, sys
import matplotlib
matplotlib.use("Agg")
sys.path.insert(0, sys.argv[2])
with open(sys.argv[1]) as stream:
    cells = json.load(stream)["cells"]
names = {}
for cell in cells:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
names["workshop"].cleanup()
sides = [(one.verdict.level, len(one.score), one.predict_proba().shape, len(one.report)) for one in
         (names["found"], names["null"])]
print(json.dumps({"sides": sides, "measured": names["measured"].value, "figures": names["plt"].get_fignums()}))
"""


def cells(kind: str) -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def printed() -> str:
    outputs = (output for cell in cells("code") for output in cell["outputs"])
    return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


def test_the_notebook_is_small_and_every_cell_was_run_without_error():
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    code = cells("code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [output["output_type"] for cell in code for output in cell["outputs"]]
    assert set(kinds) <= {"stream", "display_data"}
    names = {output.get("name") for cell in code for output in cell["outputs"]}
    assert names <= {None, "stdout"}  # no warning


def test_it_shows_both_verdicts_the_auc_and_three_pictures():
    said = printed().splitlines()
    assert said[4] == "leak"
    assert said[5].startswith("The generator leaks its training slices: ")
    assert "cannot tell" in said
    assert sum(line.startswith("AUC 0.") for line in said) == 2
    assert sum(line.startswith("measured AUC 0.") for line in said) == 1
    pictures = [output for cell in cells("code") for output in cell["outputs"] if "data" in output]
    assert [("image/png" in output["data"]) for output in pictures] == [True] * 3


def test_it_names_no_place_on_a_machine():
    assert re.findall(r"(?<![\w.:/+=])/[a-z]+/\w+", printed()) == []  # a whole path


def test_its_links_lead_to_files():
    text = "".join("".join(cell["source"]) for cell in cells("markdown"))
    links = re.findall(r"\]\(([^()\s]+)\)", text)
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).is_file()] == []


@pytest.mark.slow
def test_its_cells_run(environment, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(NOTEBOOK), str(ROOT)],
        env=environment | {"SHADOWPRINT_QUICK": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    for level, candidates, shape, page in found["sides"]:
        assert level in ("leak", "labelled only", "cannot tell")
        assert (candidates, shape) == (60, [60, 2])
        assert page > 10_000
    assert 0 <= found["measured"] <= 1
    assert len(found["figures"]) == 3
    assert list(tmp_path.iterdir()) == []  # everything was in folders that are gone
