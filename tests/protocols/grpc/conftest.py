"""A connection that was greeted."""

import pytest

from sill.protocols.grpc.limits import GrpcLimits
from sill.testing.grpc_peer import Peer


@pytest.fixture
def peer() -> Peer:
    return Peer(GrpcLimits()).greet()
