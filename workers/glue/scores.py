"""The scores of GLUE's tasks in percent, by scikit-learn and SciPy. Axes: N examples, K outputs of the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workers.glue.benchmark import SCORES, TSV_LAYOUTS, GlueName, ScoreName


def glue_scores(name: GlueName, outputs_NK: np.ndarray, labels_N: np.ndarray) -> dict[ScoreName, float]:
    """Return the task's own score, and the accuracy of a task with classes.

    A correlation with constant outputs, and any score of outputs that are not finite, count as 0.
    """
    own = SCORES[name]
    if not np.isfinite(outputs_NK).all():
        return {"accuracy": 0.0, own: 0.0} if own != "pearson" else {own: 0.0}
    if own == "pearson":
        return {own: 100 * _pearson(outputs_NK[:, 0], labels_N)}
    guesses_N = outputs_NK.argmax(-1)
    accuracy = 100 * float((guesses_N == labels_N).mean())
    return {"accuracy": accuracy, own: accuracy if own == "accuracy" else 100 * _of_classes(own, guesses_N, labels_N)}


def constant_score(name: GlueName, tests: Sequence[np.ndarray]) -> float:
    """Return the score of the best constant answer in percent, a mean over the labels of each test set.

    For the accuracy that is the share of the most frequent class, for F1 the score of answering "yes"; a correlation is 0.
    """
    answers = np.eye(max(len(TSV_LAYOUTS[name].classes), 1))
    means = [
        np.mean([glue_scores(name, np.tile(one, (len(of), 1)), of)[SCORES[name]] for of in tests]) for one in answers
    ]
    return max(0.0, *map(float, means))


def _of_classes(score: ScoreName, guesses_N: np.ndarray, labels_N: np.ndarray) -> float:
    from sklearn import metrics  # takes a second to import

    if score == "matthews":
        return float(metrics.matthews_corrcoef(labels_N, guesses_N))
    return float(metrics.f1_score(labels_N, guesses_N, zero_division=0.0))


def _pearson(outputs_N: np.ndarray, labels_N: np.ndarray) -> float:
    from scipy import stats

    if len(labels_N) < 2 or np.ptp(outputs_N) == 0 or np.ptp(labels_N) == 0:
        return 0.0
    return float(stats.pearsonr(outputs_N.astype(np.float64), labels_N.astype(np.float64)).statistic)
