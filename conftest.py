"""Makes the fixtures of tests/support known to every test of the repository."""

pytest_plugins = ["support.fixtures"]
