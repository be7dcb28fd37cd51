"""Voices behind OpenAI's speech API, against a loopback server that sends what a test tells it, when it tells it."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt import results
from stt.device import Device
from stt.engine import Unit
from stt.errors import ConfigError, EngineError, EngineUnavailable
from stt.tts.openai import OpenAI
from stt.tts.pcm import chunks as chunks_of

TONE = (12000 * np.sin(np.arange(2400) / 9)).astype("<i2")
PCM = TONE.tobytes()
KEY = "sk-secret.0123456789_abcdefghijklmnop"


class Server(ThreadingHTTPServer):
    """`answer(handler, request)` writes each answer; `requests` and `connections` say what came."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.headers, self.connections = [], [], 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.answer = lambda handler, _: send(handler, [PCM])
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def handle_error(self, request, client_address):
        """A client may go early."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        assert self.path == "/v1/audio/speech"
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.headers.append(dict(self.headers))
        self.server.answer(self, request)

    def log_message(self, *_):
        """Quiet."""


def send(handler, pieces, status=200, kind="audio/pcm", ends=True, **headers):
    """An answer in pieces, each as soon as `pieces` yields it; without its end if it breaks off."""
    handler.send_response(status)
    if kind:
        handler.send_header("Content-Type", kind)
    handler.send_header("Transfer-Encoding", "chunked")
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    for piece in pieces:
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    if ends:
        handler.wfile.write(b"0\r\n\r\n")
    else:
        handler.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def voice(server):
    voices = []

    def make(base_url=server.url, timeout_s=5.0, **changes):
        fields = {"model": "kokoro", "voice": "jf_alpha", "sample_rate": 24000, **changes}
        voices.append(OpenAI(Unit.sentence, base_url, timeout_s=timeout_s, **fields))
        voices[-1].load(Device("cpu", 1))
        return voices[-1]

    yield make
    for each in voices:
        each.close()
        each.close()


def joined(chunks):
    chunks = list(chunks)
    assert {chunk.sample_rate for chunk in chunks} == {24000}
    return np.concatenate([chunk.samples for chunk in chunks])


def riff(samples=PCM, channels=1, width=2, rate=24000, size=None, kind=1):
    """A WAV file; `size` is what the header says of its sound, where that is not true."""
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * 2, channels * width, 8 * width)
    said = len(samples) if size is None else size
    chunks = b"LIST" + struct.pack("<I", 4) + b"INFO" + b"fmt " + struct.pack("<I", 16) + fmt
    return b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data" + struct.pack("<I", said) + samples


def test_a_text_is_asked_for_as_the_api_says_and_heard_as_samples(server, voice):
    engine = voice()
    heard = joined(engine.synthesize("こんにちは。"))
    assert heard.dtype == np.float32
    assert np.array_equal(heard, TONE / np.float32(32768))
    assert server.requests == [
        {
            "model": "kokoro",
            "voice": "jf_alpha",
            "input": "こんにちは。",
            "response_format": "pcm",
            "stream_format": "audio",
        }
    ]
    assert "Authorization" not in server.headers[0]
    assert server.headers[0]["Accept-Encoding"] == "identity"  # to compress is to hold back
    effective = engine.effective()
    assert (effective["engine"], effective["base_url"]) == ("openai", server.url)
    assert (effective["model"], effective["voice"]) == ("kokoro", "jf_alpha")


def test_the_first_chunk_is_heard_before_the_last_is_sent(server, voice):
    heard_first = threading.Event()
    in_time = []

    def pieces():
        yield PCM[:1001]
        in_time.append(heard_first.wait(10))
        yield PCM[1001:]

    server.answer = lambda handler, _: send(handler, pieces())
    chunks = voice().synthesize("長い文です。")
    first = next(chunks)
    heard_first.set()
    assert first.samples.size == 500
    assert np.array_equal(joined([first, *chunks]), TONE / np.float32(32768))
    assert in_time == [True]


@given(st.lists(st.integers(0, 1200)), st.booleans())
def test_samples_are_the_same_wherever_the_bytes_are_cut(cuts, wav):
    samples = PCM[:1200]
    answer = riff(samples) if wav else samples
    edges = [0, *sorted(cuts), len(answer)]
    pieces = [answer[a:b] for a, b in pairwise(edges)]
    chunks = list(chunks_of(iter([piece for piece in pieces if piece]), 24000))
    assert np.array_equal(joined(chunks), TONE[:600] / np.float32(32768))
    assert all(chunk.samples.size >= 240 for chunk in chunks[:-1])  # no crumbs


def test_a_server_that_sends_crumbs_makes_no_chunk_of_each(server, voice):
    server.answer = lambda handler, _: send(handler, [bytes([b]) for b in PCM])
    chunks = list(voice().synthesize("今日は。"))
    assert len(chunks) <= 10
    assert np.array_equal(joined(chunks), TONE / np.float32(32768))


@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF, 0x7FFFF000])
def test_wav_is_heard_without_its_header_whatever_that_says_of_its_length(server, voice, size):
    server.answer = lambda handler, _: send(handler, [riff(size=size)], kind="audio/wav")
    assert np.array_equal(joined(voice().synthesize("今日は。")), TONE / np.float32(32768))


def test_what_follows_the_sound_of_a_wav_is_not_heard(server, voice):
    tail = b"LIST" + struct.pack("<I", 400) + b"x" * 400
    server.answer = lambda handler, _: send(handler, [riff() + tail], kind="audio/x-wav")
    engine = voice()
    assert np.array_equal(joined(engine.synthesize("今日は。")), TONE / np.float32(32768))
    list(engine.synthesize("明日は。"))
    assert server.connections == 1


@pytest.mark.parametrize(
    ("kind", "answer", "rate"),
    [
        ("audio/pcm;rate=16000;channels=1", PCM, 16000),
        ("audio/L16; rate=44100", PCM, 44100),
        ("application/octet-stream", PCM, 22050),
        (None, PCM, 22050),
        ("application/octet-stream", riff(rate=48000), 48000),
    ],
)
def test_the_answer_knows_its_rate_better_than_the_configuration(server, voice, kind, answer, rate):
    server.answer = lambda handler, _: send(handler, [answer], kind=kind)
    chunks = list(voice(sample_rate=22050).synthesize("今日は。"))
    assert {chunk.sample_rate for chunk in chunks} == {rate}
    assert sum(chunk.samples.size for chunk in chunks) == TONE.size


@pytest.mark.parametrize(
    ("kind", "answer", "why"),
    [
        ("application/json", b'{"error": {"message": "no such voice"}}', "json.*: no such voice"),
        ("application/json", b'{"detail": "busy"}', "json.*: busy"),
        ("text/plain", b"hello", "text/plain instead of samples or WAV: hello"),
        ("text/html", b"<html>Sign in</html>", r"text/html instead of samples or WAV \(http"),
        ("text/event-stream", b'data: {"type": "speech.audio.delta"}\n\n', "text/event-stream"),
        ("audio/mpeg", PCM, "audio/mpeg instead of samples"),
        ("application/octet-stream", b"ID3\x04" + PCM, "begins as MP3"),
        ("audio/pcm", b"\xff\xfb\x90\x64" + PCM, "begins as MP3"),
        (None, b"OggS" + PCM, "begins as"),
        (None, b'{"error": "no"}', "begins as"),
        ("audio/wav", riff(channels=2), r"not one channel of 16 bits \(2 of 16 bits"),
        ("audio/wav", riff(width=4, kind=3), "not one channel of 16 bits .*unknown format: 3"),
        ("audio/wav", riff()[:30], "not one channel of 16 bits"),
        ("audio/wav", b"RIFF" + bytes(200_000), "not one channel of 16 bits"),
        ("audio/pcm", PCM[:-1], "within a sample"),
    ],
)
def test_what_is_no_sound_is_refused_in_a_sentence(server, voice, kind, answer, why):
    server.answer = lambda handler, _: send(handler, [answer], kind=kind)
    engine = voice()
    with pytest.raises(EngineError, match=f"^tts=openai: .*{why}"):
        for chunk in engine.synthesize("今日は。"):
            assert kind == "audio/pcm"  # only what breaks off was heard before
            assert chunk.samples.size
    server.answer = lambda handler, _: send(handler, [PCM])
    assert joined(engine.synthesize("明日は。")).size == TONE.size


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (400, {"detail": {"error": "e", "message": "bad voice"}}, r"400 from http://1.*: bad voice\. .*tts.model=kokoro.*tts.voice=jf_alpha"),
        (404, {"error": {"message": "no model."}}, r"HTTP 404 .*: no model\. Does"),
        (404, {"detail": [{"loc": ["body"]}]}, r"HTTP 404 [^:]*://[^)]*\)\. Does.*path of tts.base_url"),
        (429, {"error": {"message": "quota"}}, "too many requests.*429.*: quota.*tts=openjtalk"),
        (500, {"message": "\x1b[31mout of\nmemory" + "!" * 999}, r"failed \(HTTP 500.*\): \[31mout of memory!{150,200}\.$"),
        (503, "[" * 50_000, r"failed \(HTTP 503"),
        (307, {}, "refused .HTTP 307"),
        (401, {"error": {"message": "who?"}}, r"OPENAI_API_KEY is not set, but wanted \(HTTP 401"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(server, voice, status, said, why):
    body = (said if isinstance(said, str) else json.dumps(said)).encode()
    server.answer = lambda handler, _: send(handler, [body], status, "application/json")
    engine = voice()
    with pytest.raises(EngineError, match=f"^tts=openai: .*{why}") as caught:
        list(engine.synthesize("今日は。"))
    assert str(caught.value).isprintable()
    server.answer = lambda handler, _: send(handler, [PCM])
    assert joined(engine.synthesize("明日は。")).size == TONE.size


def test_a_server_that_does_not_run_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    engine = OpenAI(Unit.sentence, url, "m", "v", 24000, 5.0)
    engine.load(Device("cpu", 1))
    with pytest.raises(EngineError, match=rf"no connection to {url} .*Is the server running\?"):
        list(engine.synthesize("今日は。"))
    engine.close()


@pytest.mark.parametrize("first", [[], [PCM]])
def test_a_silent_server_costs_the_timeout_and_no_more(server, voice, first):
    gone = threading.Event()

    def pieces():
        yield from first
        gone.wait(10)

    server.answer = lambda handler, _: send(handler, pieces())
    engine = voice(timeout_s=0.3)
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"nothing came for tts\.timeout_s=0\.3 s"):
        list(engine.synthesize("今日は。"))
    assert time.monotonic() - start < 5
    gone.set()


@pytest.mark.parametrize("sized", [True, False])
def test_an_answer_that_breaks_off_was_heard_until_there_and_has_failed(server, voice, sized):
    def cut(handler, _):
        if not sized:
            return send(handler, [PCM], ends=False)
        handler.send_response(200)
        handler.send_header("Content-Length", str(2 * len(PCM)))
        handler.end_headers()
        handler.wfile.write(PCM)
        handler.close_connection = True

    server.answer = cut
    engine, heard = voice(), []
    with pytest.raises(EngineError, match="broke off in the middle"):
        for chunk in engine.synthesize("今日は。"):
            heard.append(chunk)
    assert joined(heard).size == TONE.size


def test_an_empty_answer_has_failed(server, voice):
    server.answer = lambda handler, _: send(handler, [])
    with pytest.raises(EngineError, match="the answer is empty"):
        list(voice().synthesize("今日は。"))


@pytest.mark.parametrize("text", ["", " ", "。", "、…！"])
def test_nothing_to_say_asks_nobody(server, voice, text):
    assert list(voice().synthesize(text)) == []
    assert server.requests == []


def test_the_connection_is_kept_for_the_next_text(server, voice):
    engine = voice()
    for text in ("一。", "二。", "三。"):
        assert joined(engine.synthesize(text)).size == TONE.size
    assert (len(server.requests), server.connections) == (3, 1)


def test_a_kept_connection_that_the_server_has_closed_costs_no_text(server, voice):
    engine = voice()
    list(engine.synthesize("一。"))
    given_up = []

    def once(handler, _):
        if given_up:
            return send(handler, [PCM])
        given_up.append(True)
        handler.close_connection = True

    server.answer = once
    assert joined(engine.synthesize("二。")).size == TONE.size
    assert server.connections == 2

    given_up.clear()
    server.answer = lambda handler, _: setattr(handler, "close_connection", True)
    with pytest.raises(EngineError, match="the server did not answer"):
        list(engine.synthesize("三。"))


def test_a_text_given_up_in_the_middle_ends_its_answer_and_the_next_is_heard(server, voice):
    ended = threading.Event()

    def endless():
        try:
            while True:
                yield PCM
                time.sleep(0.001)
        finally:
            ended.set()

    server.answer = lambda handler, _: send(handler, endless())
    engine = voice()
    chunks = engine.synthesize("一。")
    next(chunks)
    chunks.close()
    server.answer = lambda handler, _: send(handler, [PCM])
    assert joined(engine.synthesize("二。")).size == TONE.size
    assert ended.wait(10)


def test_closing_the_engine_while_it_speaks_ends_the_answer(server, voice):
    go_on = threading.Event()

    def pieces():
        yield PCM
        go_on.wait(10)

    server.answer = lambda handler, _: send(handler, pieces())
    engine, heard, said = voice(), threading.Event(), []

    def speak():
        try:
            for _ in engine.synthesize("一。"):
                heard.set()
        except EngineError as error:
            said.append(error)

    thread = threading.Thread(target=speak)
    thread.start()
    assert heard.wait(10)
    engine.close()
    go_on.set()
    thread.join(10)
    assert not thread.is_alive()


def test_the_key_goes_to_the_server_and_nowhere_else(server, voice, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    engine = voice()
    list(engine.synthesize("今日は。"))
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"

    def echo(status, kind):
        said = json.dumps({"error": {"message": f"I got Bearer {KEY} {KEY[:9]}***"}}).encode()
        return lambda handler, _: send(handler, [said], status, kind)

    def broken(handler, _):
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nBearer {KEY}\r\n\r\n".encode())

    answers = [
        echo(401, "application/json"), echo(500, "application/json"), echo(500, KEY), echo(200, f"text/{KEY}"),
        lambda handler, _: send(handler, [f"Bearer {KEY}".encode() * 20], 400, "text/plain"), broken,
    ]  # fmt: skip
    told = []
    for answer in answers:
        server.answer = answer
        with pytest.raises(EngineError) as caught:
            list(engine.synthesize("今日は。"))
        assert caught.value.__cause__ is None
        told.append(str(caught.value))
    assert all("OPENAI_API_KEY" in each for each in told)
    assert "sk-" not in told[0]  # not even the part that a server shows
    everything = "\n".join([*told, repr(engine), str(engine.effective())])
    assert KEY not in everything


@pytest.mark.parametrize("key", ['"sk-1"', "sk-1 sk-2", "sk-1\nX: 2", "sk-é"])
def test_what_is_no_key_is_not_sent_and_not_said(voice, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(EngineUnavailable, match="OPENAI_API_KEY is no key") as caught:
        voice()
    assert "sk" not in str(caught.value)


def test_openai_itself_needs_a_key_and_says_so_before_anything_is_measured(voice):
    with pytest.raises(EngineUnavailable, match=r"OPENAI_API_KEY is not set.*tts\.base_url=http"):
        voice(base_url="https://api.openai.com/v1")


def test_a_key_that_would_go_over_a_network_unencrypted_is_said(voice, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    voice(base_url="http://127.0.0.1:1/v1")
    voice(base_url="https://tts.example/v1")
    assert not caplog.messages
    voice(base_url="http://tts.example/v1")
    [said] = caplog.messages
    assert "unencrypted to tts.example" in said
    assert KEY not in said


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("https://api.openai.com/v1", True),
        ("http://192.168.1.5:8880/v1", True),
        ("http://localhost.example/v1", True),
        ("http://localhost:8880/v1", False),
        ("HTTP://LOCALHOST/v1", False),
        ("https://127.0.0.2:1/v1", False),
        ("http://[::1]:8880/v1", False),
        ("http://0.0.0.0:8880/v1/", False),
    ],
)
def test_only_a_server_elsewhere_is_the_network(url, network):
    assert OpenAI(Unit.sentence, url, "m", "v", 24000, 5.0).network is network


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8880/v1", "ftp://host/v1", "http://", "http://h:port/v1", "http://me:pw@h/v1", "http://h/v1?key=pw", "http://h/v1#pw"],
)  # fmt: skip
def test_an_address_is_one_and_holds_no_secret(url):
    with pytest.raises(ConfigError, match=r"tts\.base_url must be an address") as caught:
        OpenAI(Unit.sentence, url, "m", "v", 24000, 5.0)
    assert "pw" not in str(caught.value)


def test_no_proxy_is_asked_for_this_machine(server, voice, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert joined(voice().synthesize("今日は。")).size == TONE.size


def test_what_python_writes_as_wav_is_read():
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, 24000, 0, "NONE", ""))
        wav.writeframes(PCM)
    assert np.array_equal(joined(chunks_of(iter([file.getvalue()]), 1)), TONE / np.float32(32768))


def speak(stt_run, server, folder, *arguments, **environment):
    given = [f"tts.base_url={server.url}", "tts.model=kokoro", "tts.voice=jf_alpha", *arguments]
    given += ["tts=openai", "translator=echo", "sink=wav", "measure.limit=4"]
    return stt_run(*given, f"hydra.run.dir={folder}", environment=environment)


def test_the_pipeline_speaks_through_a_server(server, stt_run, tmp_path):
    done = speak(stt_run, server, tmp_path / "r", "measure.warmup_max=5")
    assert done.returncode == 0, done.stderr
    frame = results.read(tmp_path / "r").query("phase == 'measure'")
    assert list(frame["status"]) == ["ok"] * 4
    assert (frame["audio_s"] == TONE.size / 24000).all()
    [run] = results.load(tmp_path / "r")
    assert run.header["effective"]["tts"]["voice"] == "jf_alpha"
    assert run.header["effective"]["tts"]["network"] is False
    with wave.open(str(tmp_path / "r" / "audio" / "run.wav")) as wav:
        assert (wav.getframerate(), wav.getnframes()) == (24000, 4 * TONE.size)
    assert len(server.requests) == 4 + 5
    assert server.connections == 1


def test_nothing_that_a_run_writes_or_says_holds_the_key(server, stt_run, tmp_path):
    def echo(handler, _):
        said = json.dumps({"error": {"message": str(dict(handler.headers))}}).encode()
        turn = len(server.requests) % 4
        if turn == 3:
            return send(handler, [PCM])
        status, kind = [(401, "application/json"), (500, KEY), (200, "application/json")][turn]
        return send(handler, [said], status, kind)

    server.answer = echo
    done = speak(stt_run, server, tmp_path / "r", "measure.warmup_max=0", OPENAI_API_KEY=KEY)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert done.returncode == 1
    assert sorted(results.read(tmp_path / "r")["status"]) == ["failed"] * 3 + ["ok"]
    files = [path for path in (tmp_path / "r").rglob("*") if path.is_file()]
    written = b"\n".join(path.read_bytes() for path in files).decode("utf-8", "replace")
    assert "Bearer [OPENAI_API_KEY]" in written
    assert "OPENAI_API_KEY was refused" in done.stderr
    assert KEY not in written + done.stdout + done.stderr
