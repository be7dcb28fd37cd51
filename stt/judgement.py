"""What the last session of a run is worth: held against its own target, or against another run.

With a baseline, the same sentences are compared, and so is the work that cannot depend on the clock. What
a clock says must be more than sessions of the baseline differ by, twice in a row. Speech that breaks
more often fails like one that comes late: the listener waits in the middle instead of before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from stt.comparison import (
    MIN_N,
    Ratio,
    by_sentence,
    in_turns,
    more_breaks,
    more_work,
    paired,
    session_noise,
    worse_said,
)
from stt.errors import ResultsError
from stt.messages import Status
from stt.metrics import samples
from stt.results import Run, last_session, sessions
from stt.statistics import Outcome, Verdict, verdict
from stt.stored import busy, faults, latest, target, translates

PASS, TOO_SLOW, CANNOT_JUDGE = 0, 1, 2
PARTS = ("translator", "tts", "segment", "pipeline", "device", "language")
"""Of the configuration: they decide how much there is to do."""
EFFECT = 0.05
"""A change below 5 % never fails the gate, however certain it is."""
UNKNOWN = "the noise between sessions is unknown: record the baseline three times, hours apart"


@dataclass
class Judgement:
    """What the gate found.

    Attributes:
        verdicts: metric -> verdict against the limit, always made.
        ratios: metric -> this run / baseline over the same sentences.
        floors: metric -> what a session of equal code may be slower (`session_noise`); 0 for sessions
            that were spoken in turns, None where it is unknown.
        doubts: why nothing can be concluded; any one makes the exit status 2.
        slow: what is too slow, or more work than before.
        unsure: what a clock says once only: exit status 2, unless something is slow for certain.
        notes: worth knowing, changes nothing.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    floors: dict[str, float | None] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0 pass, 1 too slow, 2 cannot judge."""
        if self.doubts or (self.unsure and not self.slow):
            return CANNOT_JUDGE
        return TOO_SLOW if self.slow else PASS

    @property
    def verdict(self) -> str:
        """The last line: the word, and why."""
        word = {PASS: "PASS", TOO_SLOW: "TOO SLOW", CANNOT_JUDGE: "CANNOT JUDGE"}[self.exit_status]
        return ": ".join(
            [word, *filter(None, ["; ".join(self.doubts or self.slow or self.unsure)])]
        )


def judge(run: Run, base: Run | None = None, *, allow_other_machine: bool = False) -> Judgement:
    """Judge the last session of `run`: against its target, or, with `base`, against that run.

    Args:
        allow_other_machine: compare although the machine fingerprints differ.
    """
    found = Judgement()
    try:
        asked = target(run.header, run.path)
    except ResultsError as error:
        found.doubts.append(str(error))
        return found
    names, limit_ms, q = asked["metrics"], asked["limit_ms"], asked["percentile"]
    records = last_session(run)
    found.doubts += doubts(run)
    for whose, each in (("", run), ("baseline: ", base)):
        if each and (note := busy(latest(each.header, "environment"))):
            found.notes.append(whose + note)
    for name in names:
        ids, values = samples(records, name)
        found.verdicts[name] = verdict(values, limit_ms, ids=ids, q=q)
    if base is not None:
        _compare(found, run, base, names, allow_other_machine)
        return found
    for name, absolute in found.verdicts.items():
        if absolute.outcome == Outcome.FAIL:
            found.slow.append(
                f"{name} is over {absolute.limit_ms:g} ms at p{absolute.percentile:g}"
            )
    if not found.slow:
        found.doubts += [
            f"{name} is undecided: at least {absolute.needed} more sentences needed"
            for name, absolute in found.verdicts.items()
            if absolute.outcome == Outcome.UNDECIDED
        ]
    return found


def doubts(run: Run) -> list[str]:
    """Why nothing can be concluded from the last session of a run; empty when it can be trusted."""
    records = last_session(run)
    if not records:
        return ["no measured utterance"]
    reasons = faults(run.header["sessions"][-1], records, run.corrupt)
    found = [f"invalid run: {'; '.join(reasons)}"] if reasons else []
    statuses = Counter(stored["status"] for stored in records)
    for status in sorted(set(statuses) - {Status.ok}):
        names = [r["id"] for r in records if r["status"] == status]
        found.append(f"{statuses[status]} utterances {status} ({_some(names)})")
    engines = latest(run.header, "effective")
    remote = [k for k, facts in engines.items() if isinstance(facts, dict) and facts.get("network")]
    if remote:
        found.append(f"the {' and '.join(remote)} runs over the network, whose speed is not ours")
    return found


def _compare(
    found: Judgement, run: Run, base: Run, names: list[str], allow_other_machine: bool
) -> None:
    found.doubts += [f"baseline: {doubt}" for doubt in doubts(base)]
    if run.header.get("corpus_sha256") != base.header.get("corpus_sha256"):
        found.doubts.append("the baseline was measured on another corpus")
    machines = [latest(each.header, "environment").get("fingerprint") for each in (run, base)]
    if machines[0] != machines[1] or not machines[0]:
        if allow_other_machine:
            found.notes.append("machines, library versions or thread variables differ")
        else:
            found.doubts.append(
                "the baseline was measured on another machine, or with other library versions or thread "
                "variables (such as OMP_NUM_THREADS): rerun it here, or allow that with --allow-other-machine"
            )
    old = last_session(base)
    if translates(run.header) != translates(base.header):
        found.doubts.append("of the two, only one translates")
    texts = {stored["id"]: stored["source"] for stored in old}
    known = [held for held in sessions(base) if held]
    now, before = (_matching(last_session(run, back), texts) for back in (1, 2))
    for name in names:
        (ratio, floor), (earlier, noise) = (_ratio(known, new, name) for new in (now, before))
        if ratio is None:
            found.doubts.append(f"{name}: fewer than {MIN_N} sentences in common with the baseline")
            continue
        found.ratios[name], found.floors[name] = ratio, floor
        if _slower(ratio, floor):
            bounds = f"[{ratio.low:.2f}, {ratio.high:.2f}]"
            reason = f"{name} is {ratio.ratio:.2f}x the baseline {bounds}"
            unknown = floor is None or (earlier is not None and noise is None)
            again = None if earlier is None else _slower(earlier, noise)
            _conclude(found, reason, unknown, again)
        elif _slower(ratio, 0):
            found.notes.append(f"{name}: slower, by no more than sessions of the baseline differ")
    same_setup = _setup(run) == _setup(base)
    if translates(run.header) and (worse := worse_said(old, last_session(run))):
        (found.doubts if same_setup else found.notes).append(worse)
    drawn = any(latest(r.header, "effective").get("tts", {}).get("random") for r in (run, base))
    (found.slow if same_setup else found.notes).extend(more_work(old, now, samples=not drawn))
    partner, earlier_one = in_turns(known, now), in_turns(known, before)
    broken = more_breaks(partner or known, now)
    if broken and same_setup:
        unknown = len(known) < 2 and not (partner and (earlier_one or not before))
        again = more_breaks(earlier_one or known, before) is not None
        _conclude(found, broken, unknown, again if before else None)
    elif broken:
        found.notes.append(broken)


def _conclude(found: Judgement, reason: str, unknown: bool, again: bool | None) -> None:
    """What a clock says of the last session counts when the session before says it, too.

    Args:
        unknown: whether the noise between sessions is.
        again: whether the session before says it; None: there is none.
    """
    if unknown:
        found.unsure.append(f"{reason}; {UNKNOWN}")
    elif again is None:
        found.unsure.append(f"{reason}; run it once more to confirm: sessions are compared")
    elif not again:
        found.unsure.append(f"{reason}, but not in the session before: run it once more")
    else:
        found.slow.append(reason)


def _setup(run: Run) -> dict[str, Any]:
    config = run.header.get("config", {})
    return {part: config.get(part) for part in PARTS} | {"choices": run.header.get("choices")}


def _slower(ratio: Ratio, floor: float | None) -> bool:
    return ratio.low > 1 and ratio.ratio - 1 > max(EFFECT, floor or 0)


def _ratio(
    known: list[list[dict[str, Any]]], new: list[dict[str, Any]], metric: str
) -> tuple[Ratio | None, float | None]:
    """A session over the baseline's, and its noise floor (see `Judgement.floors`)."""
    partner = in_turns(known, new)
    old = [by_sentence(*samples(held, metric)) for held in partner or known]
    every = by_sentence(*samples(chain(*(partner or known)), metric))
    ratio = paired(every, by_sentence(*samples(new, metric)))
    return ratio, 0.0 if partner else session_noise(old)


def _matching(records: list[dict[str, Any]], texts: dict[str, str]) -> list[dict[str, Any]]:
    """The same id must also be the same text, or two different sentences would be compared."""
    return [stored for stored in records if texts.get(stored["id"]) == stored["source"]]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
