"""Filter purity, filter by filter: the classes of the images with a filter's highest positive peaks."""

import math

import numpy


def purity(values, labels, num_classes: int, top: int = 100) -> dict:
    """Entropy in nats, share and category (ties the lowest) per filter; NaN and −1 for one that is always silent."""
    values = numpy.asarray(values, dtype=numpy.float64).tolist()
    labels = numpy.asarray(labels, dtype=numpy.int64).tolist()
    entropy, share, category = [], [], []
    for c in range(len(values[0])):
        firing = [n for n in range(len(values)) if values[n][c] > 0]
        firing.sort(key=lambda n, c=c: (-values[n][c], n))
        kept = [labels[n] for n in firing[:top]]
        if not kept:
            entropy.append(math.nan)
            share.append(math.nan)
            category.append(-1)
            continue
        shares = [kept.count(k) / len(kept) for k in range(num_classes)]
        entropy.append(-math.fsum(p * math.log(p) for p in shares if p > 0))
        share.append(max(shares))
        category.append(shares.index(max(shares)))
    known = [c for c in range(len(category)) if category[c] >= 0]
    return {
        "entropy": numpy.array(entropy),
        "share": numpy.array(share),
        "category": numpy.array(category),
        "mean_entropy": math.fsum(entropy[c] for c in known) / len(known) if known else math.nan,
        "mean_share": math.fsum(share[c] for c in known) / len(known) if known else math.nan,
    }
