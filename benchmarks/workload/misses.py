"""Why a statistic misses, by source and statistic; a row that passes needs none."""

MISSES: dict[tuple[str, str], str] = {}
