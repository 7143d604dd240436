"""Hourly price, carbon and weather of every region: synthetic, from CSV or EPW files, and their forecasts."""
