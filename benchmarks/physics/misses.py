"""Why a row misses, for those that do: printed only where a row is outside its tolerance."""

MISSES: dict[int, str] = {
    6: "Water follows from the lower humidity limit of outdoor air, which was chosen for rows 6 and 8 together.",
    8: "Water follows from the lower humidity limit of outdoor air, which was chosen for rows 6 and 8 together.",
    20: "Phoenix alone, and only with its typical year from file (--data): operators' figure there is 2.24 with a "
    "band of 1.8-2.6 L/kWh (row 3, inside); five cycles of concentration are an assumption.",
    28: "Stockholm, London and San Jose are inside, Frankfurt and Ashburn below. Our competent rules leave less: "
    "chillers are staged by the local controller, tower reset and economiser are on; and fewer heads are left to an "
    "agent: the independent model that found 20-36 % also searched tower approach and number of machines, and "
    "chilled water to 19 degC where our head ends at 17.5. What operators did before is not published.",
    30: "The edge room (f) is inside, the legacy room (a) is not: under our competent rules the fans of its units "
    "follow the servers already, and what is left is the supply temperature. The published baseline, fixed set-points "
    "held by local loops, lies between our B1 and B0 (see the value against constant fans).",
}
