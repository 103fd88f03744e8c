"""Demo: a challenge of our own from phantom slices, start to report in a few minutes.

Data      phantom slices (made here): a target generator trained on 50 hidden slices; 40 dev and 60 test slices
Hardware  2 CPU cores
Time      see docs/results.md
Expected  AUC of the test slices >= 0.75 against the sealed truth (five seeds in docs/results.md)
Command   python launch.py run --config=configs/demo.py --workdir=runs/demo
"""

from shadow.config import Config


def get_config() -> Config:
    config = Config()
    config.attack.same_generator = "true"
    config.train.steps = 1200
    config.challenge.train.steps = 2200
    return config
