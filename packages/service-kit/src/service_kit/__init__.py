"""What the services share and is nobody's domain: settings, logs, the ops server, the bus connection, frames."""
