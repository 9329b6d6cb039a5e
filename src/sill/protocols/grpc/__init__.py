"""gRPC over HTTP/2, server side: framing of our own, small and strict. What the calls mean is left to who serves them."""
