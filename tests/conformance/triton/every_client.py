"""Every client by its name."""

import grpc_clients
import http_clients

HTTP = {
    "http": http_clients.run_http,
    "gevent": http_clients.run_gevent,
    "aio": http_clients.run_aio,
    "kserve": http_clients.run_kserve,
}
GRPC = {
    "grpc": grpc_clients.run_grpc,
    "grpc-stream": grpc_clients.run_grpc_stream,
    "grpc-aio": grpc_clients.run_grpc_aio,
    "grpc-aio-stream": grpc_clients.run_grpc_aio_stream,
    "kserve-grpc": grpc_clients.run_kserve_grpc,
}
RAW_ONLY = ("grpc", "grpc-stream", "grpc-aio", "grpc-aio-stream")
