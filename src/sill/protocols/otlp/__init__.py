"""OpenTelemetry's protocol (OTLP over HTTP): spans as its exporters send them, in protobuf and in JSON."""
