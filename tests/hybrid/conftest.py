"""Every operator that a hybrid layer can share its weight with."""

import pytest
from tests.build import SHAREABLE

from shiftaddaug import operators
from shiftaddaug.operators.base import Operator


@pytest.fixture(params=SHAREABLE)
def operator(request: pytest.FixtureRequest) -> Operator:
    return operators.build(request.param)
