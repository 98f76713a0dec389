"""Fakes of model vendors: their protocols over real sockets on loopback, with scripted answers, timing and faults.

``FAKES[vendor, kind]`` starts the fake behind one capability: point the vendor at ``fake.options(kind)``.
"""

from typing import Final

from turncall_testkit.vendors.anthropic import AnthropicFake, anthropic_fake
from turncall_testkit.vendors.assemblyai import AssemblyAIFake, assemblyai_fake
from turncall_testkit.vendors.azure import AzureFake, azure_fake
from turncall_testkit.vendors.bedrock import BedrockFake, bedrock_fake
from turncall_testkit.vendors.cartesia import CartesiaFake, cartesia_fake
from turncall_testkit.vendors.deepgram import DeepgramFake, deepgram_fake
from turncall_testkit.vendors.elevenlabs import ElevenLabsFake, elevenlabs_fake
from turncall_testkit.vendors.google import GoogleFake, google_fake
from turncall_testkit.vendors.heygen import HeyGenFake, heygen_fake
from turncall_testkit.vendors.live import GeminiLiveFake, gemini_live_fake
from turncall_testkit.vendors.manners import Asked, Fake, Fault, Kind, Manners, StartFake
from turncall_testkit.vendors.nova import NovaSonicFake, nova_sonic_fake
from turncall_testkit.vendors.openai import OpenAIFake, openai_fake
from turncall_testkit.vendors.realtime import RealtimeFake, realtime_fake
from turncall_testkit.vendors.replies import Call, Reply
from turncall_testkit.vendors.serving import UNKNOWN
from turncall_testkit.vendors.tavus import TavusFake, tavus_fake
from turncall_testkit.vendors.tones import pitch_hz, tone
from turncall_testkit.vendors.ultravox import UltravoxFake, ultravox_fake

FAKES: Final[dict[tuple[str, Kind], StartFake]] = {
    ("anthropic", "llm"): anthropic_fake,
    ("assemblyai", "stt"): assemblyai_fake,
    ("aws", "llm"): bedrock_fake,
    ("aws", "speech"): nova_sonic_fake,
    ("azure", "tts"): azure_fake,
    ("cartesia", "stt"): cartesia_fake,
    ("cartesia", "tts"): cartesia_fake,
    ("deepgram", "stt"): deepgram_fake,
    ("deepgram", "tts"): deepgram_fake,
    ("elevenlabs", "stt"): elevenlabs_fake,
    ("elevenlabs", "tts"): elevenlabs_fake,
    ("google", "llm"): google_fake,
    ("google", "speech"): gemini_live_fake,
    ("google", "stt"): google_fake,
    ("google", "tts"): google_fake,
    ("groq", "llm"): openai_fake,
    ("groq", "stt"): openai_fake,
    ("heygen", "avatar"): heygen_fake,
    ("ollama", "llm"): openai_fake,
    ("openai", "embed"): openai_fake,
    ("openai", "llm"): openai_fake,
    ("openai", "speech"): realtime_fake,
    ("openai", "stt"): openai_fake,
    ("openai", "tts"): openai_fake,
    ("openrouter", "llm"): openai_fake,
    ("tavus", "avatar"): tavus_fake,
    ("ultravox", "speech"): ultravox_fake,
}

__all__ = [
    "FAKES",
    "UNKNOWN",
    "AnthropicFake",
    "Asked",
    "AssemblyAIFake",
    "AzureFake",
    "BedrockFake",
    "Call",
    "CartesiaFake",
    "DeepgramFake",
    "ElevenLabsFake",
    "Fake",
    "Fault",
    "GeminiLiveFake",
    "GoogleFake",
    "HeyGenFake",
    "Kind",
    "Manners",
    "NovaSonicFake",
    "OpenAIFake",
    "RealtimeFake",
    "Reply",
    "StartFake",
    "TavusFake",
    "UltravoxFake",
    "anthropic_fake",
    "assemblyai_fake",
    "azure_fake",
    "bedrock_fake",
    "cartesia_fake",
    "deepgram_fake",
    "elevenlabs_fake",
    "gemini_live_fake",
    "google_fake",
    "heygen_fake",
    "nova_sonic_fake",
    "openai_fake",
    "pitch_hz",
    "realtime_fake",
    "tavus_fake",
    "tone",
    "ultravox_fake",
]
