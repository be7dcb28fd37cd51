"""The virtual player: a deterministic loudspeaker fed by chunk hand-over times, with no sound card.

It answers what a listener would have heard: when speech starts, when it becomes audible, where it
breaks because the next chunk was late, when it ends, and how far it trails the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from stt.messages import Utterance


@dataclass(frozen=True, slots=True)
class Playback:
    """What the loudspeaker did with one utterance. Times share the origin of the chunk times.

    Attributes:
        starts_ns: when each non-empty chunk began to play.
        audible_ns: when the first audible sample played; None when nothing audible was produced.
        end_ns: when the last sample had played; the loudspeaker is free again.
        gap_ns: silence between chunks that should touch.
        underruns: how often the loudspeaker ran dry before the last chunk.
        lag_ns: how much later the last sample played than had speech begun at 0, when the text arrived.
    """

    starts_ns: tuple[int, ...]
    audible_ns: int | None
    end_ns: int
    gap_ns: int
    underruns: int
    lag_ns: int


def playback(
    chunks: Iterable[Sequence[int]],
    sample_rate: int,
    *,
    leading_silence_s: float | None = 0.0,
    free_ns: int | None = None,
) -> Playback | None:
    """Play the chunks of one utterance.

    Args:
        chunks: (hand-over time in ns, samples), in order.
        sample_rate: in Hz.
        leading_silence_s: audio before the onset; None when nothing is audible.
        free_ns: when earlier speech ends; None for an idle loudspeaker.

    Returns:
        None when there is no audio.
    """
    sounding = [(at_ns, samples) for at_ns, samples in chunks if samples > 0]
    if not sounding:
        return None
    edges = [0]  # cumulative samples; durations come from these, so rounding never accumulates
    for _, samples in sounding:
        edges.append(edges[-1] + samples)
    edges_ns = [samples * 1_000_000_000 // sample_rate for samples in edges]
    clock_ns = sounding[0][0]
    if free_ns is not None:
        clock_ns = max(clock_ns, free_ns)

    starts_ns: list[int] = []
    gap_ns = underruns = 0
    for (at_ns, _), (begin, end) in zip(sounding, pairwise(edges_ns), strict=True):
        if at_ns > clock_ns:
            gap_ns += at_ns - clock_ns
            underruns += 1
            clock_ns = at_ns
        starts_ns.append(clock_ns)
        clock_ns += end - begin

    audible_ns = None
    if leading_silence_s is not None:
        onset_ns = min(round(leading_silence_s * 1e9), edges_ns[-1])
        chunk = max(i for i, begin in enumerate(edges_ns[:-1]) if begin <= onset_ns)
        audible_ns = starts_ns[chunk] + onset_ns - edges_ns[chunk]
    return Playback(
        starts_ns=tuple(starts_ns),
        audible_ns=audible_ns,
        end_ns=clock_ns,
        gap_ns=gap_ns,
        underruns=underruns,
        lag_ns=clock_ns - edges_ns[-1],
    )


def heard(utterance: Utterance, free_ns: int | None) -> tuple[Utterance, int | None]:
    """`utterance` with when the loudspeaker was free for it, and when it is free after it."""
    arrived_ns = utterance.marks_ns["arrived"]
    if free_ns is not None:
        facts = {**utterance.facts, "loudspeaker_free_ns": free_ns - arrived_ns}
        utterance = replace(utterance, facts=facts)
    played = playback(utterance.chunks, utterance.sample_rate, free_ns=free_ns)
    return utterance, played.end_ns if played else free_ns
