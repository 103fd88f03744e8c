"""The denoising loss of a diffusion model that was trained on the pile (after Tartan Federer, winner of MIDST at SaTML
2025, who fit a network to such losses; here each candidate's is set against that of piles without it).

Where the pile's generator remembers the candidate, a model of the pile has learned what the candidate looks like. It
sees what distances do not: structure that many images of the pile share in part. Small times carry the signal; at
large ones any image of the kind is denoised alike.
"""

from __future__ import annotations

import numpy as np

from attack.evidence.attack_data import AttackData, PileBlock


def numbers(attack_data: AttackData) -> tuple[str, ...]:
    return tuple(f"proxy.{t}" for t in attack_data.config.attack.proxy.times)


def measure(attack_data: AttackData) -> np.ndarray:
    """-log mean loss [pile, candidate, time], of proxies that are trained if they are not there yet: minutes."""
    from attack.evidence.proxies import Proxies, train  # here, since proxies know what a attack_data is

    proxies = Proxies(attack_data)
    train(proxies)
    return proxies.values()


BLOCK = PileBlock("proxy", numbers, measure)


def signal(numbers: np.ndarray) -> np.ndarray:
    """-log loss, mean over the times: [..., 1] of the block's numbers [..., time]."""
    return numbers.astype(np.float64).mean(-1, keepdims=True)
