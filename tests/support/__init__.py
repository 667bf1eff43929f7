"""Real processes for tests, `make up`, `make demo` and `make bench`: PostgreSQL, NATS, Envoy and the services."""

import os

# Starting a process as another user forks; gRPC's handlers of forks crash the child while gRPC's threads run. Read when
# grpc is first imported, so this comes before.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
