"""Challenges from a folder of real slices: is the estimate right where the truth can be unsealed?

Data      --config.challenge.pool=DIR with 200 slices or more and --config.challenge.patients=CSV (file,patient)
Hardware  2 CPU cores
Time      about 4 minutes a challenge on two free cores; it trains 1.6 times as many images as the demo
Expected  the AUC against the sealed truth depends on the patients: with an earlier attack .57 to .72 where the slices
          of a patient were dealt to all roles, .99 to 1 where patients were whole (docs/results.md, "Real slices");
          with few patients the verdict is mostly "Cannot tell"
Command   python launch.py run --config=configs/real.py --workdir=runs/real --config.challenge.pool=DIR
          --config.challenge.patients=CSV; many at once: benchmarks/challenges.py
"""

from shadow.config import Config


def get_config() -> Config:
    """The recipe."""
    config = Config()
    config.attack.same_generator = "true"
    config.challenge.publish_patients = True
    config.challenge.dev_used = config.challenge.dev_not_used = 30
    config.challenge.test_used = config.challenge.test_not_used = 70
    config.challenge.train.steps = 2400
    config.challenge.train.batch_size = 32
    config.pile.steps = (500, 900, 1600)
    return config
