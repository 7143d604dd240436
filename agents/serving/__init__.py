"""A policy in front of real schedulers: one core that decides, guards around it, and a server."""
