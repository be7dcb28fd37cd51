"""The HTML page of a report, in a real browser and for text that wants to be more than text."""

from __future__ import annotations

import json
import os
import runpy
import select
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pytest

from stt import jsonl, report, results

FIXTURES = Path(__file__).parents[1] / "fixtures"
RUNS = FIXTURES / "runs"
make = runpy.run_path(str(FIXTURES / "make_runs.py"))
fcntl = pytest.importorskip("fcntl", reason="the browser's pipe is passed on as POSIX does")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Browser:
    """A headless Chromium, asked through its debugging pipe."""

    def __init__(self, command: str, profile: Path) -> None:
        ask, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ask, answer)]  # above 3 and 4
        self._process = subprocess.Popen(
            [
                *(command, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
                f"--user-data-dir={profile}",
            ],
            preexec_fn=lambda: [os.dup2(end, place) for end, place in zip(theirs, (3, 4), strict=True)],
            close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (ask, answer, *theirs):
            os.close(end)
        self._number = count(1)
        self._read = b""
        self._page: dict[str, str] = {}

    def _call(self, method: str, **params: object) -> dict:
        number = next(self._number)
        message = {"id": number, "method": method, "params": params, **self._page}
        os.write(self._ask, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._read:
                answers, _, _ = select.select([self._answers], [], [], 60)
                more = os.read(self._answers, 1 << 16) if answers else b""
                self._read += more or pytest.fail("the browser ended, or hangs")
            answer, _, self._read = self._read.partition(b"\0")
            answer = json.loads(answer)
            if answer.get("id") == number:
                return answer["result"]

    def open(self, url: str) -> None:
        self._page = {}
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._page = {"sessionId": attached["sessionId"]}
        self._call("Page.navigate", url=url)
        self.run("new Promise(done => document.readyState === 'complete' ? done() : onload = done)")

    def run(self, script: str) -> object:
        made = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in made, made
        return made["result"].get("value")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ask)
        os.close(self._answers)


@pytest.fixture
def browser(tmp_path):
    command = next(filter(None, map(shutil.which, BROWSERS)), None)
    if command is None:
        pytest.skip(f"no browser here: {', '.join(BROWSERS)}")
    found = Browser(command, tmp_path / "profile")
    yield found
    found.close()


@pytest.fixture
def page(tmp_path) -> Path:
    report.Report(results.read([RUNS / "synthetic-fast", RUNS / "synthetic-slow"])).write(tmp_path)
    return tmp_path / "report.html"


SHOWN = "[...document.querySelectorAll('section')].map(s => [...s.querySelectorAll('.utterances tbody tr')].filter(r => !r.hidden).map(r => r.cells[{}].textContent))"


def test_every_utterance_of_every_run_is_there_and_can_be_found_and_sorted(browser, page):
    fast, slow = (
        [r["id"] for r in results.last_session(run)]
        for run in results.load([RUNS / "synthetic-fast", RUNS / "synthetic-slow"])
    )
    browser.open(page.as_uri())
    assert browser.run(SHOWN.format(0)) == [fast, slow]
    assert browser.run("document.querySelector('output').value") == f"{len(fast)} of {len(fast)}"

    browser.run("document.querySelectorAll('.utterances')[0].querySelectorAll('button')[5].click()")
    [sorted_fast, same_slow] = browser.run(SHOWN.format(5))
    falling = [float(ms) if ms != "never" else float("inf") for ms in sorted_fast]
    assert falling == sorted(falling, reverse=True)
    browser.run("document.querySelectorAll('.utterances')[0].querySelectorAll('button')[5].click()")
    assert browser.run(SHOWN.format(5)) == [sorted_fast[::-1], same_slow]

    browser.run(
        "{ const s = document.querySelectorAll('section')[1].querySelector('input');"
        f" s.value = {json.dumps(slow[3].upper())}; s.dispatchEvent(new Event('input')); }}"
    )
    assert slow[3] in browser.run(SHOWN.format(0))[1]
    assert len(browser.run(SHOWN.format(0))[1]) < len(slow)


def test_a_link_leads_to_an_utterance(browser, page):
    [run] = results.load([RUNS / "synthetic-fast"])
    wanted = results.last_session(run)[0]["id"]
    browser.open(f"{page.as_uri()}#{wanted}")
    assert wanted in browser.run(SHOWN.format(0))[0]
    assert len(browser.run(SHOWN.format(0))[0]) < len(results.last_session(run))
    top = browser.run("document.querySelector('section').getBoundingClientRect().top")
    assert top < browser.run("innerHeight") / 2, "the charts above hide it"


def test_a_link_that_is_damaged_leaves_a_page_that_works(browser, page):
    browser.open(f"{page.as_uri()}#100%")
    assert browser.run(SHOWN.format(0))[0] == [], "nothing holds it"
    browser.run("document.querySelectorAll('.utterances')[1].querySelectorAll('button')[6].click()")
    assert browser.run("[...document.querySelectorAll('th')].filter(h => h.ariaSort).length") == 1


def test_a_word_without_end_makes_no_table_without_end(browser, page):
    browser.open(page.as_uri())
    browser.run("document.querySelector('.texts p').textContent = 'x'.repeat(3000)")
    table = "document.querySelector('.utterances').offsetWidth"
    assert browser.run(table) < 1300


def test_numbers_that_belong_together_stay_on_a_line_and_narrow_pages_scroll_tables(browser, page):
    browser.open(page.as_uri())
    browser.run("document.body.style.width = '360px'")
    overview = "document.querySelector('table')"
    lines = "cell => (r => (r.selectNodeContents(cell), r.getClientRects().length))(new Range())"
    cells = f"[...{overview}.querySelectorAll('td:last-child')]"
    assert browser.run(f"{cells}.map({lines})") == [1, 1]
    assert browser.run(f"{overview}.offsetWidth") <= 360
    assert browser.run(f"{overview}.scrollWidth") > 360


def test_the_page_asks_for_nothing_outside_itself(browser, page):
    browser.open(page.as_uri())
    assert browser.run("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0  # fmt: skip
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 100)")


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


EVIL = '</td><script>alert(1)</script><img src=x onerror="alert(1)"> [x](javascript:alert(1)) & "\''


def test_what_was_said_is_text_whatever_it_looks_like(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(RUNS / "synthetic-fast", run)
    lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
    for record in lines[-3:]:
        record.update(source=EVIL, translation=EVIL, reference=EVIL + "!")
    lines[-1].update(status="failed", error=EVIL, chunks=[])
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in lines))
    report.Report(results.read([run])).write(tmp_path / "out")
    found = Tags((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert all(attrs["src"].startswith("data:image/png") for tag, attrs in found.tags if tag == "img")  # fmt: skip
    assert not [name for _, attrs in found.tags for name in attrs if name.startswith("on")]
    assert not [a for tag, a in found.tags if tag == "a" and "javascript" in a.get("href", "")]
    assert found.text.count(EVIL) >= 7


def test_an_error_is_quoted_as_it_is(tmp_path):
    """Where the verdict is said, too: C:\\_x lost its backslash, and a server's words became links."""
    error = r"C:\_x\*.wav: `a` *b* __c__ &lt; [d](https://example.org) <https://example.org>"
    run = tmp_path / "run"
    shutil.copytree(RUNS / "synthetic-fast", run)
    lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
    lines[-1].update(status="failed", error=error, chunks=[])
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in lines))
    report.Report(results.read([run])).write(run)
    found = Tags((run / "report.html").read_text(encoding="utf-8"))
    assert found.text.count(error) == 2
    assert "a" not in [tag for tag, _ in found.tags]


def test_what_was_never_said_is_not_shown(tmp_path):
    """A stream has no references; a file of one run begins with its verdict."""
    run = tmp_path / "run"
    shutil.copytree(RUNS / "synthetic-fast", run)
    lines = [json.loads(line) for line in (run / "records.jsonl").read_bytes().splitlines()]
    lines = [{**line, "reference": None} for line in lines]
    (run / "records.jsonl").write_bytes(b"".join(jsonl.dumps(line) + b"\n" for line in lines))
    report.Report(results.read([run])).write(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "nan" not in Tags(text).text.lower().split()
    assert text.index("PASS</b>") < text.index("<img")
    assert 'class="reference"' not in text
