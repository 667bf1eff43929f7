"""Real processes for tests, `make up`, `make demo` and `make bench`: PostgreSQL, NATS, Envoy and the services."""
