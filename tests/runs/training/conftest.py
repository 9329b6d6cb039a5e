"""Small real data sets and models that fit in well under a second."""

from typing import Any

import numpy as np
import pytest


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def x(random: np.random.Generator) -> Any:
    """300 rows of 4 features."""
    return random.normal(size=(300, 4)).astype(np.float32)


@pytest.fixture
def y(x: Any, random: np.random.Generator) -> Any:
    """Two classes, mostly decided by the first two features."""
    return (x[:, 0] + 0.5 * x[:, 1] + 0.3 * random.normal(size=len(x)) > 0).astype(np.int64)
