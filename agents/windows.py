"""Whether what a policy was trained on overlaps what it would be judged on."""

from __future__ import annotations

from gcn_env.scenario.schema import Scenario


def overlap(trained: Scenario, judged: Scenario, split: str) -> str:
    """Years of signals and hours of traces that are in one's training and in the other's `split`, in words.

    Synthetic years of another seed are other years; so are recorded ones beside synthetic ones.
    """
    a, b, found = trained.signals, judged.signals, []
    if a.kind == b.kind and (a.kind == "files" or a.seed == b.seed):
        years = sorted(set(a.train) & set(getattr(b, split)))
        if years:
            found.append(f"year {', '.join(map(str, years))}")
    windows = {j.trace.file: j.trace.train_h for j in trained.jobs.values() if j.trace is not None}
    for name, job in judged.jobs.items():
        if job.trace is None or job.trace.file not in windows:
            continue
        (low, high), (start, end) = windows[job.trace.file], getattr(job.trace, f"{split}_h")
        if max(low, start) < min(high, end):
            found.append(f"hours {max(low, start):g} to {min(high, end):g} of {job.trace.file} ({name})")
    return "; ".join(found)
