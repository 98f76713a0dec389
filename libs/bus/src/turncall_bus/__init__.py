"""NATS: connect, publish through a spool, consume durably, ask with a deadline, read a call's story."""
