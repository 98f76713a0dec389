"""Calls from web pages: WebRTC, by the requests that Pipecat's client SDKs make."""
