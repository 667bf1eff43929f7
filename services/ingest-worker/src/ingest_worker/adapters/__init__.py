"""PostgreSQL and NATS, as the worker uses them."""
