"""Quick look without shadows: every published baseline on a folder, and a plain warning of what they cannot say.

Data      --config.data.root=FOLDER of edition 2023 or 2025 (--config.data.edition)
Hardware  1 CPU core
Time      half a minute of processor time for a 2023 folder of 10,860 images
Expected  scores.csv, submission.csv and report.html; no verdict, and probabilities only where dev labels count; the
          best of 37 baselines, told by the truth, had an AUC of .69 to .94 on leaking generators of other people's code
Command   python launch.py run --config=configs/baselines.py --workdir=runs/quick --config.data.root=FOLDER
"""

from shadow.config import Config


def get_config() -> Config:
    """The recipe."""
    config = Config()
    config.fleet.shadows = 0
    config.attack.pile = 10_000
    return config
