// Pipecat's client as a page uses it; what it is told lands in window.heard.
//
// Its microphone is the second of the two that it brings: the first one loads a program from its vendor's servers.
import { PipecatClient, RTVIEvent } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport, WavMediaManager } from "@pipecat-ai/small-webrtc-transport";

window.heard = [];
window.client = new PipecatClient({
  transport: new SmallWebRTCTransport({ mediaManager: new WavMediaManager() }),
  enableMic: true,
  enableCam: false,
});
for (const event of Object.values(RTVIEvent)) {
  client.on(event, (data) => heard.push([event, data?.text ?? data?.data?.error]));
}
client.on(RTVIEvent.TrackStarted, (track, participant) => {
  if (participant?.local || track.kind !== "audio") return;
  window.loudspeaker = Object.assign(new Audio(), { autoplay: true, srcObject: new MediaStream([track]) });
});

window.calls = async (url, token) => {
  const headers = new Headers({ Authorization: `Bearer ${token}` });
  const iceConfig = await (await fetch(`${url}/v1/webrtc/ice-servers`, { headers })).json();
  return client.connect({ webrtcRequestParams: { endpoint: `${url}/v1/webrtc/connect`, headers }, iceConfig });
};
