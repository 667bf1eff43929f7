"""What the clients hold and move: wallets and transactions."""
