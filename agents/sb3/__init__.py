"""Stable-Baselines3 over `gcn_env.sim.Sim`: only what the library lacks."""
