"""Answers every request with the same bytes: how fast the load generator is by itself, and so what it can tell apart.

python nothing.py PORT
"""

import select
import socket
import sys

RECEIVE_BYTES = 1 << 18
BODY = b'{"model_name":"model","outputs":[{"name":"output","datatype":"FP32","shape":[1,1],"data":[0.0]}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


def main() -> None:
    """Answer until ended. What comes in one piece is taken for one request."""
    listening = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    poll = select.epoll()
    poll.register(listening, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for number, _ in poll.poll():
            if number == listening.fileno():
                accepted, _ = listening.accept()
                connections[accepted.fileno()] = accepted
                poll.register(accepted, select.EPOLLIN)
            elif not answer(connections[number]):
                connections.pop(number).close()


def answer(connection: socket.socket) -> bool:
    """Take one request; false once the client has gone."""
    try:
        if connection.recv(RECEIVE_BYTES):
            connection.sendall(ANSWER)
            return True
    except ConnectionError:
        pass
    return False


if __name__ == "__main__":
    main()
