"""gRPC through the gateway: connections are spread over the replicas, and one that dies takes only its own with it."""

import os
import signal
import struct

from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.grpc_client import READY, GrpcLine
from sill.testing.serving_gateway import GatewayUnderTest

TENSOR = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, (1, 3))
QUESTION = write_text(1, "churn") + write_bytes(5, TENSOR) + write_bytes(7, struct.pack("<3f", 1, 2, 3))


def test_a_call_goes_through_and_large_ones_do(gateway: GatewayUnderTest) -> None:
    rows = 10_000
    tensor = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, (rows, 3))
    large = write_text(1, "churn") + write_bytes(5, tensor) + write_bytes(7, bytes(12 * rows))
    with GrpcLine(gateway.port + 1) as line:
        assert line.ask(QUESTION)[0] == 0
        assert line.ask(large)[0] == 0
        assert line.ask(write_text(1, "churn"), READY) == (0, [b"\x08\x01"])


def test_a_replica_that_dies_takes_only_its_own_connections_with_it(gateway: GatewayUnderTest) -> None:
    with GrpcLine(gateway.port + 1) as one, GrpcLine(gateway.port + 1) as other:
        assert one.ask(QUESTION)[0] == other.ask(QUESTION)[0] == 0
        os.kill(gateway.process_ids()[0], signal.SIGKILL)
        gateway.until(lambda: len(gateway.process_ids()) < gateway.replicas)
        statuses = sorted(line.ask(QUESTION)[0] for line in (one, other))
        assert statuses == [-100, 0]
        with GrpcLine(gateway.port + 1) as third:
            assert third.ask(QUESTION)[0] == 0
    gateway.until(lambda: gateway.count("sill_gateway_replica_admitted") == gateway.replicas, 30)
