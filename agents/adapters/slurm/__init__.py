"""Slurm: a Lua script that only tags and delays, and a controller outside that asks the policy and places jobs."""
