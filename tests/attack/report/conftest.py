"""A made-up run and its report: made once, not to be written to but for its report."""

from pathlib import Path

import pytest
from made_up_run import config, make_run, write_report


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> tuple[Path, Path]:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def page(run) -> str:
    return write_report(run[0], config(), run[1]).read_text()
