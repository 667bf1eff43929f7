"""Bridges to other libraries. Each module needs its library; nothing else of the SDK does."""
