"""Codes of datasets: Set Transformers on two levels, of the images of a class and of the classes of a dataset.

Lee, Lee, Kim, Kosiorek, Choi and Teh 2019 (arXiv 1810.00825), as MetaD2A uses it (`meta/metad2a.py`). With d the width:

    Q = X Wq + bq,  K = Y Wk + bk,  V = Y Wv + bv                      each split into heads
    O = Q + softmax(Q K' / sqrt(d)) V                                  the heads side by side again
    MAB(X, Y) = O + relu(O Wo + bo)

The scale is that of all heads together, as in the released code; there is no layer norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Features = Sequence[NDArray[np.float32]]
"""A dataset: for each of its classes, the features (n, F) of its images."""


class Sets(NamedTuple):
    """B datasets as one batch; their classes, S in all, stand one below another.

    rows: (S, N, F) features of images; a class with fewer is filled up. present: (S, N) which rows are images.
    classes: (B, C) which of the S each class of a dataset is; there: (B, C) which of those are classes at all.
    """

    rows: Tensor
    present: Tensor
    classes: Tensor
    there: Tensor


def drawn(datasets: Sequence[Features], per_class: int, rng: np.random.Generator) -> Sets:
    """Of every class of some datasets `per_class` images at random, or all where it has fewer."""
    taken = [
        features[rng.permutation(len(features))[:per_class]] if len(features) > per_class else features
        for dataset in datasets
        for features in dataset
    ]
    most = max(map(len, taken))
    rows = np.zeros((len(taken), most, taken[0].shape[1]), np.float32)
    present = np.zeros((len(taken), most), np.bool_)
    for place, features in enumerate(taken):
        rows[place, : len(features)] = features
        present[place, : len(features)] = True
    counts = np.array([len(dataset) for dataset in datasets])
    there = np.arange(counts.max()) < counts[:, None]
    classes = np.where(there, np.cumsum(counts)[:, None] - counts[:, None] + np.arange(counts.max()), 0)
    return Sets(*(torch.from_numpy(array) for array in (rows, present, classes, there)))


class Attention(nn.Module):
    """MAB: every query looks at all keys."""

    def __init__(self, queries: int, keys: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(queries, width)
        self.key = nn.Linear(keys, width)
        self.value = nn.Linear(keys, width)
        self.out = nn.Linear(width, width)
        # At the usual initial weights a third of the variance passes each layer, and little of a dataset would reach its code.
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, queries: Tensor, keys: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, Q, width) of queries (B, Q, ·) and keys (B, K, ·). present: (B, K) keys that are there, at least one each."""
        query = self.query(queries)
        q, k, v = (self._split(part) for part in (query, self.key(keys), self.value(keys)))
        mask = None if present is None else present[:, None, None, :]
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1 / sqrt(query.shape[-1]))
        found = query + seen.transpose(1, 2).flatten(2)
        answer: Tensor = found + torch.relu(self.out(found))
        return answer

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class SetPool(nn.Module):
    """The code (B, width) of sets (B, N, features): two attentions among the members, one of a learned seed to them, one layer."""

    def __init__(self, features: int, width: int, heads: int) -> None:
        super().__init__()
        self.first = Attention(features, width=width, keys=features, heads=heads)
        self.second = Attention(width, width, width, heads)
        self.seed = nn.Parameter(torch.empty(1, 1, width))
        nn.init.xavier_uniform_(self.seed)
        self.pool = Attention(width, width, width, heads)
        self.last = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.last.weight)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """present: (B, N) members that are there, at least one each."""
        x = self.first(x, x, present)
        x = self.second(x, x, present)
        code: Tensor = self.last(self.pool(self.seed.expand(len(x), -1, -1), x, present))[:, 0]
        return code


class DatasetEncoder(nn.Module):
    """The code (B, width) of B datasets. The order of images within a class, and of classes, means nothing.

    Features are first moved and scaled by what `fit_features` has found.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, features: int, width: int = 56, heads: int = 4) -> None:
        super().__init__()
        self.images = SetPool(features, width, heads)
        self.classes = SetPool(width, width, heads)
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(()))

    def fit_features(self, datasets: Sequence[Features]) -> None:
        """Move features to their mean and scale them, all alike, so that the mean of their variances is 1.

        One scale for all: what hardly ever varied in these datasets may do so in others.
        """
        count = sum(len(features) for dataset in datasets for features in dataset)
        mean = sum(features.sum(0, dtype=np.float64) for dataset in datasets for features in dataset) / count
        power = sum(((features - mean) ** 2).sum(0) for dataset in datasets for features in dataset) / count
        self.shift.copy_(torch.from_numpy(np.asarray(mean)))
        self.scale.fill_(float(np.sqrt(np.mean(power))) or 1.0)

    def forward(self, sets: Sets) -> Tensor:
        """Classes and images that only fill up change nothing."""
        prototypes = self.images((sets.rows - self.shift) / self.scale, None if bool(sets.present.all()) else sets.present)
        code: Tensor = self.classes(prototypes[sets.classes], None if bool(sets.there.all()) else sets.there)
        return code
