"""edge-tts against a loopback server that plays the service over TLS; nothing leaves this machine."""

import asyncio
import gc
import io
import os
import socket
import ssl
import threading
import time
from html import unescape
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt import results
from stt.device import Device
from stt.engine import Unit
from stt.errors import ConfigError, EngineError
from stt.tts.edge import Edge

edge_tts = pytest.importorskip("edge_tts", reason="edge-tts is not installed")
pytest.importorskip("av", reason="av is not installed")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: it makes the MP3")
web = pytest.importorskip("aiohttp.web")

HOST = "speech.platform.bing.com"
TEXT = "今日はいい天気ですね。"


def engine(timeout_s=5.0, voice="ja-JP-NanamiNeural"):
    made = Edge(Unit.sentence, voice=voice, timeout_s=timeout_s)
    made.load(Device("cpu", 1))
    return made


@pytest.fixture(scope="module")
def mp3():
    """Four seconds as the service sends them: MPEG-2 layer III, 24 kHz, mono, 48 kbit/s."""
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile writes no MP3")
    at_s = np.arange(4 * 24000) / 24000
    sweep = 0.3 * np.sin(2 * np.pi * (200 + 100 * at_s) * at_s) * np.sin(np.pi * at_s / 4)
    noise = 0.02 * np.random.default_rng(0).standard_normal(at_s.size)
    file = io.BytesIO()
    how = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.75}
    soundfile.write(file, sweep + noise, 24000, **how)
    made = file.getvalue()
    assert made[:3] == bytes.fromhex("fff364")  # else the service would not send it
    return made


def cut(mp3, size=720):
    return [mp3[at : at + size] for at in range(0, len(mp3), size)]


def samples_of(chunks):
    return np.concatenate([chunk.samples for chunk in chunks])


class Conversation:
    """One connection, as the service sees it."""

    def __init__(self, socket, transport):
        self.socket, self.transport = socket, transport

    async def say(self, path, body="{}"):
        await self.socket.send_str(f"X-RequestId:1\r\nPath:{path}\r\n\r\n{body}")

    async def send(self, piece, head=b"Content-Type:audio/mpeg\r\nPath:audio\r\n"):
        head = b"X-RequestId:1\r\n" + head
        await self.socket.send_bytes(len(head).to_bytes(2, "big") + head + piece)

    async def speak(self, *pieces):
        await self.say("turn.start")
        for piece in pieces:
            await self.send(piece)
        await self.send(b"", b"Path:audio\r\n")
        await self.say("turn.end")


class Service(threading.Thread):
    """Answers each text with `play(conversation)`; a status other than 101 refuses the connection."""

    def __init__(self, tls, play, statuses=(), headers=None):
        super().__init__(daemon=True)
        self.tls, self.play, self.headers = tls, play, headers or {}
        self.statuses = list(statuses)
        self.asked = []
        self.open = 0
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.start()
        self.ready.wait(10)

    def run(self):
        self.loop.run_until_complete(self.listen())
        self.loop.run_forever()
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.close()

    async def listen(self):
        app = web.Application()
        app.router.add_get("/consumer/speech/synthesize/readaloud/edge/v1", self.answer)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.ready.set()

    async def answer(self, request):
        if self.statuses and (status := self.statuses.pop(0)) != 101:
            return web.Response(status=status, headers=self.headers)
        talk = web.WebSocketResponse(timeout=0.1)
        await talk.prepare(request)
        self.open += 1
        try:
            async for message in talk:
                if "Path:ssml" in message.data:
                    self.asked.append(message.data)
                    await self.play(Conversation(talk, request.transport))
        finally:
            self.open -= 1
        return talk

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(10)


@pytest.fixture
def resolve(monkeypatch):
    """Makes the service's name mean a port of this machine."""
    monkeypatch.delenv("WSS_PROXY", raising=False)
    monkeypatch.delenv("wss_proxy", raising=False)
    real = socket.getaddrinfo

    def to(port):
        def resolved(host, *rest, **named):
            if host != HOST:
                return real(host, *rest, **named)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolved)

    return to


@pytest.fixture
def serve(certificate, resolve, monkeypatch):
    """Start a service that the engine takes for Microsoft's."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    monkeypatch.setattr(edge_tts.communicate, "_SSL_CTX", trusting)
    monkeypatch.setattr(edge_tts.drm.DRM, "clock_skew_seconds", 0.0)
    services = []

    def start(play, **changes):
        service = Service(tls, play, **changes)
        services.append(service)
        resolve(service.port)
        return service

    yield start
    for service in services:
        service.stop()


def speaking(pieces):
    async def play(talk):
        await talk.speak(*pieces)

    return play


async def silent(talk):
    """Read and say nothing, not even goodbye, until the other side is gone."""
    while not talk.transport.is_closing():
        await asyncio.sleep(0.01)


def in_use():
    """Threads and, where the system tells, open files and sockets."""
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count() + files


def comes_true(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture(autouse=True)
def nothing_is_left_to_the_garbage_collector():
    """What was not closed is a warning when it is collected, and that an error, of this test."""
    yield
    gc.collect()


@pytest.mark.parametrize("size", [1, 100, 144, 720, 5000, 100_000])
def test_the_samples_are_those_of_the_whole_mp3(serve, mp3, size):
    serve(speaking(cut(mp3, size) if size > 1 else [*cut(mp3[:300], 1), mp3[300:]]))
    chunks = list(engine().synthesize(TEXT))
    whole, rate = soundfile.read(io.BytesIO(mp3), dtype="float32")
    assert {chunk.sample_rate for chunk in chunks} == {rate} == {24000}
    spoken = samples_of(chunks)
    assert spoken.dtype == np.float32
    assert spoken.size == whole.size
    # Another decoder: FFmpeg's and mpg123's floats differ in the last bits.
    assert np.abs(spoken - whole).max() < 1e-5


@given(cuts=st.lists(st.integers(0, 24_336)))
@settings(max_examples=30, deadline=None)
def test_where_the_pieces_end_changes_no_sample(mp3, cuts):
    voice = engine()
    (whole,) = voice._decode(iter([mp3]))
    edges = [0, *sorted(cuts), len(mp3)]
    pieces = [mp3[a:b] for a, b in pairwise(edges) if a < b]
    assert np.array_equal(samples_of(voice._decode(iter(pieces))), whole.samples)


def test_the_first_chunk_is_heard_before_the_next_piece_is_sent(serve, mp3):
    heard = threading.Event()
    pieces = cut(mp3)

    async def play(talk):
        await talk.say("turn.start")
        await talk.send(pieces[0])
        assert await asyncio.to_thread(heard.wait, 20)
        await talk.speak(*pieces[1:])

    serve(play)
    chunks = engine().synthesize(TEXT)
    first = next(chunks)
    assert first.samples.size == 5 * 576  # all five frames of the first piece
    heard.set()
    assert first.samples.size + samples_of(chunks).size == len(mp3) // 144 * 576


def test_gaps_between_pieces_may_add_up_to_more_than_the_timeout(serve, mp3):
    async def play(talk):
        await talk.say("turn.start")
        for piece in cut(mp3, 6000):
            await asyncio.sleep(0.4)
            await talk.send(piece)
        await talk.say("turn.end")

    serve(play)
    assert len(list(engine(timeout_s=1.5).synthesize(TEXT))) == 5


@pytest.mark.parametrize("text", ["", " ", "。", "、…！"])
def test_nothing_to_say_asks_nobody(serve, mp3, text):
    service = serve(speaking(cut(mp3)))
    assert list(engine().synthesize(text)) == []
    assert service.asked == []


def test_the_text_arrives_as_text_with_the_voice_that_was_chosen(serve, mp3):
    service = serve(speaking(cut(mp3)))
    list(engine(voice="ja-JP-KeitaNeural").synthesize("a < b & cは真です。"))
    [asked] = service.asked
    assert "a &lt; b &amp; cは真です。" in asked
    assert "(ja-JP, KeitaNeural)" in asked


@pytest.mark.parametrize("heard", [0, 1])
def test_who_closes_early_leaves_nothing_open(serve, mp3, heard, caplog):
    async def play(talk):
        await talk.say("turn.start")
        await talk.send(cut(mp3)[0])
        await silent(talk)

    service = serve(play)
    before = in_use()
    start = time.monotonic()
    chunks = engine().synthesize(TEXT)
    for _ in range(heard):
        next(chunks)
        assert service.open == 1
    chunks.close()
    assert time.monotonic() - start < 5  # the library would wait 10 s for the service's goodbye
    assert comes_true(lambda: service.open == 0 and in_use() <= before), (before, in_use())
    assert not caplog.records


def test_many_texts_leave_nothing_open(serve, mp3, caplog):
    service = serve(speaking(cut(mp3)))
    voice = engine()
    list(voice.synthesize(TEXT))
    before = in_use()
    for _ in range(5):
        assert len(list(voice.synthesize(TEXT))) == len(cut(mp3))
    assert len(service.asked) == 6
    assert comes_true(lambda: service.open == 0 and in_use() <= before), (before, in_use())
    assert not caplog.records


def test_what_failed_before_an_early_close_is_not_reported(serve, mp3, caplog):
    sent = threading.Event()

    async def play(talk):
        await talk.say("turn.start")
        await talk.send(cut(mp3)[0])
        await asyncio.sleep(0.2)
        await talk.send(cut(mp3)[1])
        await talk.say("nonsense")
        await talk.socket.close()
        sent.set()

    serve(play)
    chunks = engine().synthesize(TEXT)
    next(chunks)
    assert sent.wait(20)
    next(chunks)  # the rest has arrived with it
    chunks.close()
    gc.collect()
    assert not caplog.records


def test_what_cannot_be_decoded_ends_the_connection_while_the_error_is_still_held(serve):
    async def play(talk):
        await talk.say("turn.start")
        await talk.send((bytes.fromhex("fff364c4") + b"\xff" * 140) * 5)
        await silent(talk)

    service = serve(play)
    with pytest.raises(EngineError, match="not an MP3") as held:
        list(engine().synthesize(TEXT))
    assert comes_true(lambda: service.open == 0)
    assert held.value.__traceback__


async def after_one_piece(talk):
    await talk.say("turn.start")
    await talk.send(bytes.fromhex("fff364c4") + bytes(140))
    await silent(talk)


@pytest.mark.parametrize("play", [silent, after_one_piece])
def test_a_service_that_falls_silent_costs_the_timeout_and_no_more(serve, play):
    service = serve(play)
    before = in_use()
    start = time.monotonic()
    with pytest.raises(EngineError, match=rf"{HOST} did not answer within tts\.timeout_s=0\.5 s"):
        list(engine(timeout_s=0.5).synthesize(TEXT))
    assert time.monotonic() - start < 5
    assert comes_true(lambda: service.open == 0 and in_use() <= before), (before, in_use())


def test_a_service_that_never_accepts_costs_the_timeout_and_no_more(resolve):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        resolve(listener.getsockname()[1])
        before = in_use()
        start = time.monotonic()
        with pytest.raises(EngineError, match="did not answer within"):
            list(engine(timeout_s=0.5).synthesize(TEXT))
        assert time.monotonic() - start < 5
        assert comes_true(lambda: in_use() <= before), (before, in_use())


def test_a_name_that_nobody_resolves_in_time_costs_the_timeout_and_no_more(monkeypatch):
    released = threading.Event()
    real = socket.getaddrinfo

    def slow(host, *rest, **named):
        if host == HOST:
            released.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    start = time.monotonic()
    with pytest.raises(EngineError, match="did not answer within"):
        list(engine(timeout_s=0.5).synthesize(TEXT))
    assert time.monotonic() - start < 5
    released.set()


def test_a_text_ends_with_its_audio_and_not_with_the_goodbye_of_the_service(serve, mp3):
    """The service says that this was all, and then nothing: aiohttp would wait 10 s for its close."""
    gone = threading.Event()

    async def play(talk):
        await talk.speak(*cut(mp3))
        await silent(talk)
        gone.set()

    serve(play)
    for timeout_s in (0.5, 60.0):
        gone.clear()
        start = time.monotonic()
        chunks = list(engine(timeout_s).synthesize(TEXT))
        assert samples_of(chunks).size == len(mp3) // 144 * 576
        assert time.monotonic() - start < 5
        assert gone.wait(10), "the connection is not left open either"


def test_a_long_text_is_heard_to_the_end_of_its_last_part(serve, mp3):
    """edge-tts asks for 4096 bytes at a time, and cuts where there is a space."""
    service = serve(speaking(cut(mp3)))
    chunks = list(engine().synthesize("今日は、いい天気ですね。 " * 240))
    assert len(service.asked) == 3
    assert samples_of(chunks).size == 3 * (len(mp3) // 144 * 576)


def test_a_speech_that_breaks_off_is_an_error_of_this_sentence(serve, mp3):
    async def play(talk):
        await talk.say("turn.start")
        for piece in cut(mp3)[:10]:
            await talk.send(piece)
        await talk.socket.close()

    serve(play)
    chunks = engine().synthesize(TEXT)
    with pytest.raises(EngineError, match="ended in the middle of the speech"):
        for _ in range(11):
            next(chunks)


def test_a_clock_that_is_wrong_is_corrected_by_the_library(serve, mp3):
    late = {"Date": "Sun, 22 Nov 2026 10:00:00 GMT"}
    service = serve(speaking(cut(mp3)), statuses=[403, 101], headers=late)
    assert list(engine().synthesize(TEXT))
    assert len(service.asked) == 1


def test_a_token_that_is_refused_twice_is_named(serve, mp3):
    serve(speaking(cut(mp3)), statuses=[403, 403])
    with pytest.raises(EngineError, match=r"HTTP 403.*newer edge-tts.*tts=openjtalk"):
        list(engine().synthesize(TEXT))


def test_a_refusal_without_the_time_of_day_is_the_same_refusal(serve, mp3):
    serve(speaking(cut(mp3)), statuses=[403], headers={"Date": "yesterday"})
    with pytest.raises(EngineError, match=r"HTTP 403.*newer edge-tts"):
        list(engine().synthesize(TEXT))


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_names_the_status_and_a_way_out(serve, mp3, status):
    serve(speaking(cut(mp3)), statuses=[status])
    with pytest.raises(EngineError, match=rf"HTTP {status}.*tts=openjtalk"):
        list(engine().synthesize(TEXT))


async def no_audio(talk):
    await talk.say("turn.start")
    await talk.say("turn.end")


async def unsupported_voice(talk):
    await talk.socket.close(code=1007, message=b"Unsupported voice ja-JP-NobodyNeural.")


@pytest.mark.parametrize("play", [no_audio, unsupported_voice])
def test_an_answer_without_audio_asks_for_the_voice(serve, play):
    serve(play)
    voice = engine(voice="ja-JP-NobodyNeural")
    with pytest.raises(EngineError, match=r"no audio.*tts\.voice=ja-JP-NobodyNeural.*list-voices"):
        list(voice.synthesize(TEXT))


@pytest.mark.parametrize(
    "pieces",
    [[b"A" * 720] * 10, [b"\xff\xf3" + b"A" * 718], [b"RIFF" + bytes(700)], [b"\xff"]],
)
def test_an_answer_that_is_no_mp3_is_an_error_of_this_sentence(serve, pieces, capfd):
    serve(speaking(pieces))
    with pytest.raises(EngineError, match="not an MP3"):
        list(engine().synthesize(TEXT))
    assert capfd.readouterr() == ("", "")


async def unknown_path(talk):
    await talk.say("something.new")


async def no_header(talk):
    await talk.socket.send_str("hello")


async def short(talk):
    await talk.socket.send_bytes(b"x")


@pytest.mark.parametrize("play", [unknown_path, no_header, short])
def test_a_message_out_of_order_is_an_error_of_this_sentence(serve, mp3, play):
    service = serve(play)
    voice = engine()
    with pytest.raises(EngineError, match="was not understood"):
        list(voice.synthesize(TEXT))
    service.play = speaking(cut(mp3))
    assert list(voice.synthesize(TEXT))


def test_a_stranger_with_another_certificate_gets_no_text(serve, mp3, monkeypatch):
    service = serve(speaking(cut(mp3)))
    monkeypatch.setattr(edge_tts.communicate, "_SSL_CTX", ssl.create_default_context())
    with pytest.raises(EngineError, match="not secure, so nothing was sent"):
        list(engine().synthesize(TEXT))
    assert service.asked == []


def test_nobody_listening_is_said_in_plain_words(resolve):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    resolve(port)
    with pytest.raises(
        EngineError, match=r"cannot be reached.*WSS_PROXY.*tts=openjtalk needs none"
    ):
        list(engine().synthesize(TEXT))


def test_no_network_is_said_in_plain_words(monkeypatch):
    monkeypatch.delenv("WSS_PROXY", raising=False)

    def unknown(host, *_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EngineError, match=r"name cannot be resolved.*tts=openjtalk needs none"):
        list(engine().synthesize(TEXT))


def test_a_dead_proxy_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("WSS_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(EngineError, match="proxy in WSS_PROXY"):
        list(engine().synthesize(TEXT))


@pytest.mark.parametrize("voice", ["Nanami", "", "ja"])
def test_what_cannot_be_a_voice_is_refused_before_anything_is_sent(voice):
    with pytest.raises(ConfigError, match=r"tts\.voice=.*ja-JP-NanamiNeural"):
        engine(voice=voice)


def test_what_runs_names_versions_service_and_voice():
    voice = engine()
    assert voice.network
    effective = voice.effective()
    assert effective["host"] == HOST
    assert effective["voice"] == "ja-JP-NanamiNeural"
    assert f"edge-tts {edge_tts.__version__}" in effective["version"]
    assert "av " in effective["version"]


LOOPBACK = """
import os, socket, certifi

real, cert, port = socket.getaddrinfo, os.environ["CERT"], int(os.environ["PORT"])
certifi.where = lambda: cert

def resolved(host, *rest, **named):
    assert host == "speech.platform.bing.com", host
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

socket.getaddrinfo = resolved
"""


@pytest.mark.engine
def test_the_whole_pipeline_speaks_with_it(serve, certificate, mp3, tmp_path, stt_run):
    """From English to WAV files in a process of its own, in which only name and certificate are ours."""
    gap_s = 0.02

    async def play(talk):
        await talk.say("turn.start")
        for piece in cut(mp3):
            await talk.send(piece)
            await asyncio.sleep(gap_s)
        await talk.say("turn.end")

    service = serve(play, statuses=[101, 503, 101])
    (tmp_path / "sitecustomize.py").write_text(LOOPBACK)
    done = stt_run(
        "tts=edge", "sink=wav", "measure.limit=3", "measure.warmup_max=0",
        f"hydra.run.dir={tmp_path / 'r'}",
        environment={
            "PYTHONPATH": str(tmp_path),
            "CERT": str(certificate / "cert.pem"),
            "PORT": str(service.port),
        },
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "HTTP 503" in done.stderr
    frame = results.read(tmp_path / "r")
    assert list(frame["status"]) == ["ok", "failed", "ok"]
    spoken = frame[frame["status"] == "ok"]
    for asked, (_, row) in zip(service.asked, spoken.iterrows(), strict=True):
        assert row["translation"] in unescape(asked)
    whole, _ = soundfile.read(io.BytesIO(mp3), dtype="float32")
    last_sent_ms = (len(cut(mp3)) - 1) * gap_s * 1000
    assert (spoken["total_ms"] - spoken["ttfa_ms"] >= last_sent_ms).all()
    for name in spoken["id"]:
        heard, rate = soundfile.read(tmp_path / "r" / "audio" / f"{name}.wav", dtype="float32")
        assert rate == 24000
        assert heard.size == whole.size
        assert np.abs(heard - whole).max() < 2 / 32768
