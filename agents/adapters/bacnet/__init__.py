"""Cooling heads over BACnet/IP: point list, a simulated plant device, and the loop that drives it or a real one."""
