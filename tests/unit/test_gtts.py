"""gTTS against a loopback server that plays the service; nothing leaves this machine."""

import base64
import contextlib
import io
import re
import socket
import ssl
import threading
import time

import numpy as np
import pytest

from stt.device import Device
from stt.engine import Unit
from stt.errors import EngineError
from stt.tts.gtts import GTTS

pytest.importorskip("gtts", reason="gTTS is not installed: pip install --no-deps gTTS==2.5.4")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")


def engine(timeout_s=5.0):
    made = GTTS(Unit.sentence, language="ja", domain="com", timeout_s=timeout_s)
    made.load(Device("cpu", 1))
    return made


@pytest.fixture(scope="module")
def mp3():
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile writes no MP3")
    seconds = np.arange(24000) / 24000
    file = io.BytesIO()
    soundfile.write(file, 0.4 * np.sin(2 * np.pi * 440 * seconds), 24000, format="MP3")
    return file.getvalue()


class Server(threading.Thread):
    """A forward proxy that answers CONNECT and then plays the service itself."""

    def __init__(self, folder, body, status="200 OK", delay_s=0.0):
        super().__init__(daemon=True)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.body, self.status, self.delay_s = body, status, delay_s
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.answer(connection)

    def answer(self, connection):
        connection.settimeout(10)
        self.read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with self.tls.wrap_socket(connection, server_side=True) as secure:
            self.requests.append(self.read(secure))
            time.sleep(self.delay_s)
            head = (
                f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\nConnection: close"
            )
            secure.sendall(head.encode() + b"\r\n\r\n" + self.body)
            with contextlib.suppress(OSError):
                secure.unwrap()

    @staticmethod
    def read(connection):
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        length = re.search(rb"Content-Length: (\d+)", received)
        body_at = received.index(b"\r\n\r\n") + 4
        while length and len(received) < body_at + int(length.group(1)):
            received += connection.recv(65536)
        return received


@pytest.fixture
def serve(certificate, monkeypatch):
    servers = []

    def start(body, **changes):
        server = Server(certificate, body, **changes)
        servers.append(server)
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, server.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        return server

    yield start
    for server in servers:
        server.listener.close()


def answer(audio):
    return b'[["wrb.fr","jQ1olc","[\\"' + base64.b64encode(audio) + b'\\"]"]]\n'


def test_an_answer_is_decoded_to_samples(serve, mp3):
    server = serve(answer(mp3))
    voice = engine()
    (chunk,) = voice.synthesize("今日はいい天気ですね。")
    assert chunk.sample_rate == 24000
    assert chunk.samples.dtype == np.float32
    assert chunk.samples.size == pytest.approx(24000, abs=3000)
    middle = chunk.samples[8000:16000]
    assert np.abs(np.fft.rfft(middle)).argmax() * 3 == pytest.approx(440, abs=3)
    assert b"batchexecute" in server.requests[0]


def test_a_long_text_comes_part_by_part(serve, mp3):
    server = serve(answer(mp3))
    chunks = engine().synthesize(
        "昨日の会議では、新しい製品の開発計画について議論が続きました。" * 5
    )
    next(chunks)
    assert len(server.requests) == 1
    assert len(list(chunks)) >= 1


def test_it_says_that_texts_leave_this_machine():
    assert engine().network


@pytest.mark.parametrize("text", ["", " ", "。", "、…！"])
def test_nothing_to_say_asks_nobody(serve, mp3, text):
    server = serve(answer(mp3))
    assert list(engine().synthesize(text)) == []
    assert server.requests == []


@pytest.mark.parametrize("status", ["403 Forbidden", "429 Too Many Requests", "503 Down"])
def test_a_refusal_names_the_status_and_a_way_out(serve, status):
    serve(b"", status=status)
    with pytest.raises(EngineError, match=rf"HTTP {status[:3]}.*tts=openjtalk"):
        list(engine().synthesize("今日は。"))


def test_a_silent_server_costs_the_timeout_and_no_more(serve):
    serve(b"", delay_s=3.0)
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"did not answer within tts\.timeout_s=0\.3 s"):
        list(engine(timeout_s=0.3).synthesize("今日は。"))
    assert time.monotonic() - start < 2.5


def test_an_answer_that_is_no_mp3_is_an_error_of_this_sentence(serve):
    serve(answer(b"\xff\xfb" + b"A" * 300))
    with pytest.raises(EngineError, match="not an MP3"):
        list(engine().synthesize("今日は。"))


def test_an_answer_without_audio_is_an_error_of_this_sentence(serve):
    serve(b'[["wrb.fr","jQ1olc",null]]\n')
    with pytest.raises(EngineError, match="without audio"):
        list(engine().synthesize("今日は。"))


def test_a_dead_proxy_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    with pytest.raises(EngineError, match="HTTPS_PROXY"):
        list(engine().synthesize("今日は。"))


def test_no_network_is_said_in_plain_words(monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def unknown(host, *_args, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EngineError, match=r"name cannot be resolved.*tts=openjtalk needs none"):
        list(engine().synthesize("今日は。"))
