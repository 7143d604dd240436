"""Adapters: each turns one scheduler's protocol into candidates for `agents.serving.decide`, and the choice back."""
