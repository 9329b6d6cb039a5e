"""How much one peer may ask of the gRPC server, and how patient it is."""

import msgspec


class GrpcLimits(msgspec.Struct, frozen=True, kw_only=True):
    """All bounds of the framing.

    Attributes:
        connections_max: at once; more are closed as they come.
        idle_per_address_max: connections of one address without a call; beyond it the oldest is told to go.
        streams_max: calls at once on one connection.
        message_bytes_max: largest message, after it was unpacked.
        ratio_max: unpacked bytes for each packed one, once more than a MiB was unpacked; as the HTTP gate has it.
        messages_waiting_max: of one streaming call, read and not yet taken up; then no more window is given.
        stream_window_bytes, connection_window_bytes: what a client may send ahead.
        header_list_bytes_max, header_count_max: of one head, unpacked; each field counts 32 bytes more.
        header_block_bytes_max, continuations_max: of one head as it comes.
        head_seconds_max: from the connection to its settings, and from a head's first byte to its last.
        body_grace_seconds, body_bytes_per_s_min: how slowly a message may come, after a grace.
        idle_seconds_max: a connection without calls is told to go after that.
        age_seconds_max: a connection that is older is told to go, and its calls end; 0 for any age.
        silent_seconds_max, ping_seconds_max: a silent connection is asked for a sign, which must come in time.
        stalled_seconds_max: a client that reads nothing is cut off after that.
        noise_max, noise_per_s: frames that carry no call (pings, settings, resets, empty data) in a row, and how many
            are forgiven each second. A call that is answered forgives some as well, and one reset.
        resets_max, resets_per_s: calls begun and taken back, the same.
        noise_slowed, resets_slowed: from so many on the connection is read slowly.
        answer_bytes_waiting_max: answers of one connection that its windows hold back.
    """

    connections_max: int = 2_000
    idle_per_address_max: int = 64
    streams_max: int = 256
    message_bytes_max: int = 64 * 1024 * 1024
    ratio_max: float = 200.0
    messages_waiting_max: int = 64
    stream_window_bytes: int = 4 * 1024 * 1024
    connection_window_bytes: int = 16 * 1024 * 1024
    header_list_bytes_max: int = 16 * 1024
    header_count_max: int = 100
    header_block_bytes_max: int = 64 * 1024
    continuations_max: int = 16
    head_seconds_max: float = 10.0
    body_grace_seconds: float = 10.0
    body_bytes_per_s_min: float = 1_000.0
    idle_seconds_max: float = 300.0
    age_seconds_max: float = 0.0
    silent_seconds_max: float = 60.0
    ping_seconds_max: float = 20.0
    stalled_seconds_max: float = 60.0
    noise_max: int = 4_000
    noise_per_s: float = 100.0
    noise_forgiven_by_call: int = 4
    resets_max: int = 1_000
    resets_per_s: float = 100.0
    noise_slowed: int = 500
    resets_slowed: int = 100
    answer_bytes_waiting_max: int = 128 * 1024 * 1024
