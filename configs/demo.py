"""Demo: a challenge of our own from phantom slices, start to report in a few minutes.

Data      phantom slices (made here): a target generator trained on 50 hidden slices; 40 dev and 60 test slices
Hardware  2 CPU cores, 1 GiB of memory a process (two work at once)
Time      1.5 to 2.5 minutes on two free cores, 2.5 to 3 minutes of processor time
Expected  a report like docs/report.png; AUC of the test slices against the sealed truth .95 to .99 on six seeds, with
          an earlier attack (docs/results.md, "The demo")
Command   python launch.py run --config=configs/demo.py --workdir=runs/demo
"""

from shadow.config import Config


def get_config() -> Config:
    """The recipe."""
    config = Config()
    config.attack.same_generator = "true"
    config.train.steps = 1200
    config.challenge.train.steps = 2200
    return config
