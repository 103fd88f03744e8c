"""The config of a run that is there: what `launch.py` takes where no --config names a recipe.

Data, hardware, time: those of the run
Expected  the run goes on with the config it was started with; --config.field=value overrides it
Command   python launch.py run --workdir=DIR
"""

from pathlib import Path

from shadow import workdir
from shadow.config import Config, from_dict


def get_config(folder: str) -> Config:
    """The config of a run that is there."""
    return from_dict(workdir.read_config(Path(folder)))
