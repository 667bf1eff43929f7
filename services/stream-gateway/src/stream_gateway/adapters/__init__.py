"""The engine's seams over NATS, and its front over gRPC."""
