"""Proxies: a small diffusion model for every pile, trained on that pile alone, and what it makes of real images.

The strongest published attack that sees generated data only trains such a model on the released data and reads its
denoising losses at small times, with the same noises for every candidate (Tartan Federer, winner of MIDST at SaTML
2025, on tables). A proxy knows nothing but its pile: no label and no other pile.
"""

from attack.evidence.proxies.work import Proxies, train

__all__ = ["Proxies", "train"]
