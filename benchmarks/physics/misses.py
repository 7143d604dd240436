"""Why a row misses, for those that do: printed only where a row is outside its tolerance."""

MISSES: dict[int, str] = {
    6: "PUE is inside. Water follows from the lower humidity limit, a dew point of 5.5 degC, chosen for row 8; "
    "with the limit recommended today (-9 degC) this plant uses next to none, as AWS reports (0.02). The dew points "
    "of the design climate are recalled (R).",
    8: "PUE is inside. Water follows from the lower humidity limit: with that recommended today (-9 degC) winter air "
    "is hardly humidified, and at 24 degC supply most hours hotter than that are too humid for the wet stage.",
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
