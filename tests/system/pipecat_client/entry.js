// Pipecat's client as a page uses it; what it is told lands in window.heard.
import { PipecatClient, RTVIEvent } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport } from "@pipecat-ai/small-webrtc-transport";

window.heard = [];
window.client = new PipecatClient({
  transport: new SmallWebRTCTransport({ waitForICEGathering: true }),
  enableMic: true,
  enableCam: false,
});
for (const event of Object.values(RTVIEvent)) {
  window.client.on(event, (data) => window.heard.push([event, data && (data.text ?? data.version ?? data.error)]));
}
window.client.on(RTVIEvent.TrackStarted, (track, participant) => {
  if (!participant?.local && track.kind === "audio") window.botTrack = track;
});
