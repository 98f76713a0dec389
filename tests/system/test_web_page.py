"""The page that control serves, in a real browser with a microphone that plays a file."""

import asyncio
import io
import shutil
import signal
import subprocess
import wave
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import soxr  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, async_playwright

from turncall.process import Process
from turncall_proto.agent import AgentSpec
from turncall_proto.call import EndedReason
from turncall_proto.ids import CallId
from turncall_testkit.house import House

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CLIENT = Path(__file__).with_name("pipecat_client")
NPM = shutil.which("npm")
WAIT_MS = 60_000
MICROPHONE_HZ = 48_000
WHISTLE_HZ = 1000
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")


def microphone() -> np.ndarray:
    """What the visitor does over and over: a whistle, a pause, a question, a pause."""
    seconds = np.arange(MICROPHONE_HZ * 2 // 5) / MICROPHONE_HZ
    whistle = np.sin(2 * np.pi * WHISTLE_HZ * seconds) * 6000
    recording = files("turncall.demo").joinpath("caller", "hours.wav").read_bytes()[44:]
    question = soxr.resample(np.frombuffer(recording, "<i2").astype(np.float64), 8000, MICROPHONE_HZ)
    pause = np.zeros(3 * MICROPHONE_HZ)
    return np.concatenate((whistle, pause, question, pause)).astype("<i2")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """The machine's Chromium, without a window; its microphone plays a file."""
    path = tmp_path_factory.mktemp("microphone") / "visitor.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_HZ)
        file.writeframes(microphone().tobytes())
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}",
        "--autoplay-policy=no-user-gesture-required",
    )
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=CHROMIUM, headless=True, chromium_sandbox=False, args=list(flags)
        )
        yield browser
        await browser.close()


async def calling(house: House, browser: Browser, agent: AgentSpec, name: str) -> tuple[Page, CallId]:
    """A tab in which somebody has called an agent of this name."""
    made = await house.api.create_agent(name, agent)
    await house.api.publish_agent(made.id)
    token = await house.api.create_client_token(agent_id=made.id, origins=[house.installation.control_url])
    page = await browser.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(f"{house.installation.control_url}/call#{token.token}")
    # Microphones are cleaned of whistles, and this one is measured.
    raw = "{ echoCancellation: false, noiseSuppression: false, autoGainControl: false }"
    await page.evaluate(f"call.microphone = {raw}")
    await page.click("#call")
    await page.get_by_text("You are connected.").wait_for()
    return page, token.call_id


async def fact_of(house: House, call_id: CallId, tag: str, **data: Any) -> Any:
    """The first fact of a live call of this type that holds these data."""
    async with asyncio.timeout(WAIT_MS / 1000):
        async for fact in house.api.follow(call_id, internal=True):
            if fact.type == tag and data.items() <= fact.data.items():
                return fact
    raise AssertionError(f"no {tag} with {data}")


async def ended(house: House, call_id: CallId) -> Any:
    """The call, once `call.ended` was stated."""
    async with asyncio.timeout(WAIT_MS / 1000):
        async for _ in house.api.follow(call_id):
            pass
    return await house.api.call(call_id)


HEARS_KEY_ONE = """async (sound) => {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 4096;
  context.createMediaStreamSource(sound).connect(analyser);
  const levels = new Float32Array(analyser.frequencyBinCount);
  const at = (hz) => levels[Math.round(hz * analyser.fftSize / context.sampleRate)];
  for (let tries = 0; tries < 1200; tries++) {
    analyser.getFloatFrequencyData(levels);
    if (at(697) > -50 && at(1209) > -50 && at(697) > at(950) + 20) return [at(697), at(1209), at(950)];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return [at(697), at(1209), at(950)];
}"""


async def hears_keys(house: House, call_id: CallId, page: Page, sound: str) -> None:
    """The pitches of a key are in the page's ``sound``, and not what lies between them."""
    hearing = asyncio.create_task(page.evaluate(HEARS_KEY_ONE, await page.evaluate_handle(sound)))
    await house.api.send_dtmf(call_id, "111111111")
    low, high, between = await hearing
    assert min(low, high) > between + 20, f"697 Hz {low:.0f} dB, 1209 Hz {high:.0f} dB, 950 Hz {between:.0f} dB"


async def test_a_visitor_talks_with_an_agent(house: House, browser: Browser, agent: AgentSpec) -> None:
    """Both hear each other, at the level and pitch of what was said; the visitor may interrupt, and hangs up by closing
    the tab."""
    page, call_id = await calling(house, browser, agent, "called in a browser")
    await page.locator("li.agent", has_text="dental practice").wait_for()
    await page.locator("li.caller:not(.partial)", has_text="what are your opening hours").first.wait_for()

    mute = page.get_by_role("button", name="Mute")
    await mute.click()  # whoever speaks would cut the tones
    await hears_keys(house, call_id, page, "call.audio.srcObject")

    await mute.click()
    assert await mute.get_attribute("aria-pressed") == "false"
    await house.api.say(call_id, "We are open every day of the week. " * 12)
    await fact_of(house, call_id, "transcript.final", speaker="agent", is_interrupted=True)

    await page.close(run_before_unload=False)
    view = await ended(house, call_id)
    assert (view.channel, view.ended_reason, view.missing_events) == ("browser", EndedReason.CUSTOMER_ENDED_CALL, 0)
    with wave.open(io.BytesIO(await house.api.recording(call_id))) as recording:
        rate_hz, sound = recording.getframerate(), recording.readframes(recording.getnframes())
    caller = np.frombuffer(sound, "<i2")[0::2].astype(np.float64)
    assert rate_hz == 16_000
    assert whistled(caller, rate_hz), "the visitor's whistle is not in the recording"


REFUSALS = {"NotAllowedError": "microphone is blocked", "NotFoundError": "No microphone was found"}


async def test_a_page_says_why_no_call_comes_about(house: House, browser: Browser, agent: AgentSpec) -> None:
    """On a small screen, by keyboard: without a microphone it may be tried again; then the lines are busy, the link is
    spent, or was none."""
    made = await house.api.create_agent("called too often", agent)
    await house.api.publish_agent(made.id)
    await house.api.change_agent(made.id, max_concurrent_calls=0)
    token = await house.api.create_client_token(agent_id=made.id)
    context = await browser.new_context(viewport={"width": 375, "height": 667})
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    url = f"{house.installation.control_url}/call"
    await page.goto(f"{url}#{token.token}")
    button, trouble = page.get_by_role("button", name="Call"), page.get_by_role("alert")
    for name, says in REFUSALS.items():
        refuse = "name => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', name)))"
        await page.evaluate(refuse, name)
        await button.press("Enter")
        await trouble.filter(has_text=says).wait_for()
    await page.evaluate("() => delete navigator.mediaDevices.getUserMedia")
    await button.press("Enter")
    await trouble.filter(has_text="All lines are busy").wait_for()
    assert await button.is_disabled()
    assert await page.evaluate("document.documentElement.scrollWidth") == 375
    for used in (token.token, "tcw_nobody"):
        await page.goto("about:blank")
        await page.goto(f"{url}#{used}")
        await button.press("Enter")
        await trouble.filter(has_text="does not work any more").wait_for()
    await context.close()
    assert (await house.api.call(token.call_id)).ended_reason == EndedReason.NO_CAPACITY


def whistled(samples: np.ndarray, rate_hz: int) -> bool:
    """Whether somewhere for a tenth of a second there is the whistle and hardly anything else."""
    size = rate_hz // 10
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1))
    loudest = np.abs(np.argmax(spectra, axis=1) * rate_hz / size - WHISTLE_HZ) <= rate_hz / size
    loud = np.sqrt((frames**2).mean(axis=1))
    return bool(np.any(loudest & (loud > 2000) & (loud < 8000)))


async def test_a_page_outlives_its_worker(house: House, browser: Browser, agent: AgentSpec) -> None:
    """The worker is killed in the middle of the call: the page connects anew by the token that opened the call, and
    another worker goes on."""
    await house.installation.add_worker()
    page, call_id = await calling(house, browser, agent, "its worker is killed")
    opened = await fact_of(house, call_id, "epoch.opened", previous_seq=0)
    await page.locator("li.caller:not(.partial)", has_text="what are your opening hours").first.wait_for()
    killed = await serving(house, opened.data["worker"])
    killed.signal(signal.SIGKILL)
    resumed = await fact_of(house, call_id, "call.resumed", from_epoch=1)
    assert resumed.data["to_worker"] != opened.data["worker"]
    await page.get_by_text("You are connected.").wait_for()
    await page.close(run_before_unload=False)
    view = await ended(house, call_id)
    assert (view.ended_reason, view.missing_events) == (EndedReason.CUSTOMER_ENDED_CALL, 0)


async def serving(house: House, worker: str) -> Process:
    """The process that goes by this id, by its own log."""
    for number, process in enumerate(house.installation.workers, 1):
        log = house.installation.folder / "logs" / f"worker-{number}.log"
        if process.is_running and worker in await asyncio.to_thread(log.read_text):
            return process
    raise AssertionError(f"no live process is {worker}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pipecat's client, its versions as the lock file says, as one script for a page."""
    if NPM is None:
        pytest.skip("needs npm, which brings Pipecat's own client: apt-get install npm")
    folder = tmp_path_factory.mktemp("client") / "package"
    await asyncio.to_thread(shutil.copytree, CLIENT, folder, ignore=shutil.ignore_patterns("node_modules"))
    for command in (
        (NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"),
        (NPM, "exec", "--no", "--", "esbuild", "entry.js", "--bundle", "--format=iife", "--outfile=bundle.js"),
    ):
        ran = await asyncio.to_thread(subprocess.run, command, cwd=folder, capture_output=True, text=True, timeout=180)
        if "ENOTFOUND" in ran.stderr or "EAI_AGAIN" in ran.stderr or "ECONNREFUSED" in ran.stderr:
            pytest.skip("npm reaches no registry")
        assert ran.returncode == 0, ran.stderr
    return await asyncio.to_thread((folder / "bundle.js").read_text)


WRITTEN = ("botLlmStarted", "botLlmText", "botLlmStopped")
SPOKEN = ("botTtsStarted", "botOutput", "botTtsText", "botTtsStopped", "botTranscript")


async def test_pipecats_own_client_talks_with_an_agent(
    house: House, browser: Browser, agent: AgentSpec, bundle: str
) -> None:
    """Its published packages connect, hear and are heard, write instead, are told all that happens, and say goodbye."""
    made = await house.api.create_agent("called by Pipecat's client", agent)
    await house.api.publish_agent(made.id)
    url = house.installation.control_url
    token = await house.api.create_client_token(agent_id=made.id, origins=[url])
    page = await browser.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.route(f"{url}/its-page", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    await page.goto(f"{url}/its-page")
    await page.add_script_tag(content=bundle)
    ready = await page.evaluate("([url, token]) => calls(url, token)", [url, token.token])
    assert ready["version"].startswith("2.")

    async def is_told(event: str, text: str = "") -> None:
        told = "([name, part]) => heard.some(([event, text]) => event === name && `${text}`.includes(part))"
        await page.wait_for_function(told, arg=[event, text])

    question = "what are your opening hours"
    for event in ("botStartedSpeaking", "userStartedSpeaking", "userStoppedSpeaking"):
        await is_told(event)
    await is_told("userTranscript", question)
    await page.evaluate("client.enableMic(false)")
    await page.evaluate("heard.length = 0")
    await page.evaluate("question => client.sendText(question)", question)
    await is_told("userLlmText", question)
    await hears_keys(house, token.call_id, page, "loudspeaker.srcObject")
    for event in (*WRITTEN, *SPOKEN):
        await is_told(event)
    assert await page.evaluate("heard.filter(([event]) => event === 'messageError' || event === 'error')") == []

    await page.evaluate("client.disconnect()")
    view = await ended(house, token.call_id)
    assert (view.ended_reason, view.missing_events) == (EndedReason.CUSTOMER_ENDED_CALL, 0)
    await page.close()
