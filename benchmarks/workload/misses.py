"""Why a statistic misses, by source and statistic; a row that passes needs none."""

_PAIR = "the yardstick is one pair of parts that happen to agree, and generated parts spread more than that; "
_STEADY = (
    "The trace is one month of equally busy weeks, which agree more than weeks of a year would; generated weeks also "
    "differ in how busy they are. "
)

MISSES: dict[tuple[str, str], str] = {
    (
        "training",
        "autocorrelation, 6 h",
    ): "Philly's weeks agree at this one lag (to 0.02; at 1 and 24 h they differ by "
    "0.18 and 0.13). The whole trace's 0.08 lies inside the generated 5-95 %.",
    ("batch", "index of dispersion, 1 h"): _STEADY + "The whole trace's lies at the generated median.",
    ("batch", "index of dispersion, 6 h"): _STEADY + "The whole trace's lies near the generated median.",
    ("batch", "index of dispersion, 24 h"): _STEADY + "The whole trace's lies inside the generated 5-95 %.",
    ("batch", "autocorrelation, 1 h"): _STEADY + "The whole trace's lies at the generated median.",
    ("batch", "weekly profile"): "Two fortnights: "
    + _PAIR
    + "and the trace's days of the week are inferred.",
    (
        "batch",
        "gang size",
    ): "Every best-effort pod with a GPU asks for one, so parts do not differ at all. The table's 1 % of "
    "larger gangs are the shares of pods of all classes: a batch class without any would never be tested with them.",
    (
        "nasa",
        "index of dispersion, 1 h",
    ): "Generated weeks spread more than NASA's thirteen (one lognormal modulation stands "
    "for busy weeks and for the holidays in which the machine stood idle). The whole trace's lies inside the generated "
    "5-95 %.",
    ("serving", "autocorrelation, 6 h"): "Two weeks: "
    + _PAIR
    + "the whole trace's lies inside the generated 5-95 %.",
    ("m-small", "autocorrelation, 24 h"): "Two half weeks: "
    + _PAIR
    + "the whole week's lies inside the generated 5-95 %.",
    ("m-mid", "autocorrelation, 24 h"): "Two half weeks: "
    + _PAIR
    + "but the whole week's 0.40 lies at the generated 95 %, "
    "too: its level changed once and for days, which a modulation fitted to one week takes for less than it is.",
    ("m-small", "excess of bursts"): "Half a week has three or four bursts: "
    + _PAIR
    + "the whole week's is the generated "
    "median within 2 %.",
    ("m-mid", "excess of bursts"): "Half a week has a dozen: "
    + _PAIR
    + "the whole week's is the generated median within "
    "5 %.",
}
