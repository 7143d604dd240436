"""Hours and weekdays of the UTC years that signals are given for."""

from __future__ import annotations

import datetime as dt

# rows per year in a bank: a leap year; shorter years are continued by repeating their last day
BANK_HOURS = 8784


def gregorian(year_id: int) -> int:
    """The calendar year whose weekdays and length `year_id` has (the calendar repeats after 400 years)."""
    return 2000 + year_id % 400


def year_hours(year_id: int) -> int:
    """8784 in leap years, else 8760."""
    year = gregorian(year_id)
    return 8784 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 8760


def first_weekday(year_id: int) -> int:
    """Weekday of 1 January, Monday 0."""
    return dt.date(gregorian(year_id), 1, 1).weekday()
