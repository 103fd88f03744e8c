"""LOGAN-D1: a classifier that tells the pile from real images."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from attack.baselines.inputs import Inputs, products


def logan(inputs: Inputs, network: bool) -> np.ndarray:
    """f(x), the log odds of a classifier that minimises the log loss of "pile, not reference", both weighing the same.

    Hayes et al. 2019 train a convolutional discriminator; ours sees principal components, and is a perceptron with one
    hidden layer (network) or a logistic regression.
    """
    candidates, pile, reference = inputs.points()
    if not network:
        labels = np.repeat([1, 0], [len(pile), len(reference)])
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(np.vstack([pile, reference]), labels)
        return products(candidates, model.coef_.T)[:, 0] + model.intercept_
    count = np.arange(max(len(pile), len(reference)))  # the smaller side is repeated
    features = np.vstack([pile[count % len(pile)], reference[count % len(reference)]])
    model = MLPClassifier((64,), alpha=1e-3, random_state=0)
    for _ in range(30):
        model.partial_fit(features, np.repeat([1, 0], len(count)), classes=[0, 1])
    (first, last), (bias, shift) = model.coefs_, model.intercepts_
    return (products(np.maximum(products(candidates, first) + bias, 0), last) + shift)[:, 0]
