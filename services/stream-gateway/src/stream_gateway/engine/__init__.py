"""The engine behind ConnectClient: sessions, queues, ack correlation, liveness, takeover, durable frames.

It knows nothing of wallets, of gRPC or of NATS: messages are bytes whose meaning a `Contract` gives, the world is
reached through the seams in `seams.py`.
"""
