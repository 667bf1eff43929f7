"""Measurements of the system, each beside its floor. Run `make bench`, or `python -m bench --help`."""
