"""HTS speech parameters from full-context labels, through hts_engine's exported C functions.

pyopenjtalk's extension module carries the whole HTS engine but offers only labels-to-waveform. Its
waveform stage (the MLSA filter) is 90 % of the cost, so this module stops before it and hands out
the parameters of each frame. Only functions of the public header `HTS_engine.h` are used and the
engine is opaque memory, so no struct layout is assumed (hts_engine API 1.10).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stt.errors import EngineError, EngineUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POINTER, _SIZE, _FLAG = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char
_STRINGS = ctypes.POINTER(ctypes.c_char_p)
_FUNCTIONS: dict[str, tuple[object, list[object]]] = {
    "initialize": (None, [_POINTER]),
    "load": (_FLAG, [_POINTER, _STRINGS, _SIZE]),
    "clear": (None, [_POINTER]),
    "refresh": (None, [_POINTER]),
    "set_stop_flag": (None, [_POINTER, _FLAG]),
    "generate_state_sequence_from_strings": (_FLAG, [_POINTER, _STRINGS, _SIZE]),
    "generate_parameter_sequence": (_FLAG, [_POINTER]),
    "generate_sample_sequence": (_FLAG, [_POINTER]),
    "save_generated_parameter": (None, [_POINTER, _SIZE, _POINTER]),
    "get_nstate": (_SIZE, [_POINTER]),
    "get_total_state": (_SIZE, [_POINTER]),
    "get_total_frame": (_SIZE, [_POINTER]),
    "get_state_duration": (_SIZE, [_POINTER, _SIZE]),
    "get_sampling_frequency": (_SIZE, [_POINTER]),
    "get_fperiod": (_SIZE, [_POINTER]),
    "get_alpha": (ctypes.c_double, [_POINTER]),
}
_YES = b"\x01"
# HTS_Engine is a few hundred bytes; what lies behind a generous allowance must stay untouched.
_ENGINE_BYTES, _GUARD_BYTES, _GUARD = 16384, 16384, 0xA5


@dataclass(frozen=True)
class Parameters:
    """Frame parameters of a label sequence, one row every `Voice.period` samples.

    Attributes:
        cepstrum: mel-cepstrum, shape (frames, order + 1).
        log_f0: natural log of F0 in Hz, shape (frames,); about -1e10 where unvoiced.
        mixing: half-band pulse/noise mixing filter, centre tap in the middle, shape (frames, taps).
        durations: frames of each label, shape (labels,).
    """

    cepstrum: NDArray[np.float32]
    log_f0: NDArray[np.float32]
    mixing: NDArray[np.float32]
    durations: NDArray[np.int64]


class Voice:
    """An HTS voice in an engine of its own. Not thread-safe: one thread per instance.

    Attributes:
        sample_rate: of the voice's own vocoder, in Hz.
        period: samples between frames at that rate.
        alpha: frequency warping of its mel-cepstrum.
    """

    def __init__(self, library: str, voice: bytes) -> None:
        """Load a voice.

        Args:
            library: path of a shared library that exports `HTS_Engine_*`.
            voice: path of an .htsvoice file.

        Raises:
            EngineUnavailable: a symbol is missing, or the voice does not load.
        """
        try:
            hts = ctypes.CDLL(library)
            self._call = {name: getattr(hts, f"HTS_Engine_{name}") for name in _FUNCTIONS}
            for name, (result, arguments) in _FUNCTIONS.items():
                self._call[name].restype = result
                self._call[name].argtypes = arguments
            self._libc = ctypes.CDLL(None)
            self._libc.open_memstream.restype = _POINTER
            self._libc.open_memstream.argtypes = [ctypes.POINTER(_POINTER), ctypes.POINTER(_SIZE)]
            self._libc.fclose.argtypes = [_POINTER]
            self._libc.free.argtypes, self._libc.free.restype = [_POINTER], None
        except (OSError, AttributeError, TypeError) as error:
            raise EngineUnavailable(
                f"{library} does not offer the HTS functions needed here: {error}."
            ) from error
        self._memory = (ctypes.c_char * (_ENGINE_BYTES + _GUARD_BYTES))()
        ctypes.memset(ctypes.addressof(self._memory) + _ENGINE_BYTES, _GUARD, _GUARD_BYTES)
        self._engine = ctypes.addressof(self._memory)
        self._call["initialize"](self._engine)
        # Not before its last user is gone: a thread may be inside it when a run is stopped.
        # Nor when the interpreter ends: such a thread goes on until the process is gone.
        weakref.finalize(self, _clear, self._call["clear"], self._memory).atexit = False
        if self._call["load"](self._engine, (ctypes.c_char_p * 1)(voice), 1) != _YES:
            raise EngineUnavailable(f"The HTS engine cannot load the voice {voice.decode()}.")
        self._states: int = self._call["get_nstate"](self._engine)
        self.sample_rate: int = self._call["get_sampling_frequency"](self._engine)
        self.period: int = self._call["get_fperiod"](self._engine)
        self.alpha: float = self._call["get_alpha"](self._engine)

    @property
    def intact(self) -> bool:
        """Whether the engine stayed inside the memory it was given."""
        behind = ctypes.addressof(self._memory) + _ENGINE_BYTES
        return ctypes.string_at(behind, _GUARD_BYTES) == bytes([_GUARD]) * _GUARD_BYTES

    def parameters(self, labels: Sequence[bytes]) -> Parameters:
        """Durations, then the most likely parameter trajectories (MLPG with global variance), for
        `labels`.

        Raises:
            EngineError: the engine refuses the labels.
        """
        import numpy as np

        call, engine = self._call, self._engine
        strings = (ctypes.c_char_p * len(labels))(*labels)
        try:
            if (
                not labels
                or call["generate_state_sequence_from_strings"](engine, strings, len(labels))
                != _YES
                or call["generate_parameter_sequence"](engine) != _YES
            ):
                raise EngineError("The HTS engine refused the labels of this text.")
            # With the stop flag set this copies the parameters and skips the waveform loop.
            call["set_stop_flag"](engine, _YES)
            if call["generate_sample_sequence"](engine) != _YES:
                raise EngineError("The HTS engine generated no parameters for this text.")
            frames: int = call["get_total_frame"](engine)
            cepstrum, log_f0, mixing = (
                self._stream(index).reshape(frames, -1) for index in range(3)
            )
            duration = call["get_state_duration"]
            states = [duration(engine, state) for state in range(call["get_total_state"](engine))]
            durations = np.array(states, np.int64).reshape(len(labels), self._states).sum(axis=1)
            return Parameters(cepstrum, log_f0[:, 0], mixing, durations)
        finally:
            call["set_stop_flag"](engine, b"\x00")
            call["refresh"](engine)

    def _stream(self, index: int) -> NDArray[np.float32]:
        """What the engine would write to a parameter file, read from a memory stream instead."""
        import numpy as np

        text, length = _POINTER(), _SIZE()
        stream = self._libc.open_memstream(ctypes.byref(text), ctypes.byref(length))
        if not stream:
            raise EngineError("Out of memory while reading HTS parameters.")
        try:
            self._call["save_generated_parameter"](self._engine, index, stream)
        finally:
            self._libc.fclose(stream)
        try:
            return np.frombuffer(ctypes.string_at(text.value or 0, length.value), "<f4")
        finally:
            self._libc.free(text)


def _clear(clear: Any, memory: Any) -> None:
    clear(ctypes.addressof(memory))
