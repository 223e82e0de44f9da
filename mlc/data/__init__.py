"""Data sets for examples and tests: `digits` travels with mlc, `mnist` is fetched once; `batches` shuffles arrays."""

from __future__ import annotations

from .fetching import cache_folder, catalog, fetch
from .minibatches import batches
from .sets import Dataset, digits, mnist, mnist_or_digits

__all__ = ["Dataset", "batches", "cache_folder", "catalog", "digits", "fetch", "mnist", "mnist_or_digits"]
