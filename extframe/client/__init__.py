"""Calls to a plugin: HTTP, connections, replies, retries and the circuit breaker."""
