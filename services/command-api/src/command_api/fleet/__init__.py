"""The clients: who they are, what they say of themselves, and the commands sent to them."""
