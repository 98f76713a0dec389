// Calls an agent from a web page: one class, nothing to build, nothing else to load.
//
//   <script src="https://voice.example.com/call/turncall.js"></script>
//   const call = new TurnCall({ token });            // made by your server: POST /v1/webrtc/tokens
//   call.addEventListener("transcript", (event) => console.log(event.detail.speaker, event.detail.text));
//   button.onclick = () => call.start();             // browsers want a click before they play sound
//
// Events: "state" (idle, connecting, live, renewing, over), "transcript" {speaker, text, isFinal}, "speaking" {speaker,
// isSpeaking}, "face" (the stream of the agent's avatar, or null), "message" (every RTVI message), "trouble" {reason,
// message} when a call that was live is lost. When the call's worker is lost, or the page's network, the page makes a
// new connection and another worker goes on.
//
// start() rejects with an error whose "reason" is microphone-refused, no-microphone, microphone-busy or not-secure:
// then it may be called again; or busy, not-allowed, unreachable, refused or no-path: then a new token is needed.
"use strict";

(() => {
  const SILENT_AFTER_MS = 1500; // sound comes all the time; without any for so long its sender or the network is gone
  const LOOK_EVERY_MS = 250;
  const AGAIN_AFTER_MS = 500;
  const GIVE_UP_AFTER_MS = 30000; // by then the call was given up at the other end, too
  const PING_EVERY_MS = 1000;
  const MICROPHONE = {
    NotAllowedError: "microphone-refused",
    NotFoundError: "no-microphone",
    NotReadableError: "microphone-busy",
  };
  const REFUSED = { 401: "not-allowed", 403: "not-allowed", 409: "not-allowed", 429: "busy", 503: "busy", 504: "busy" };
  const SOURCE = document.currentScript ? document.currentScript.src : location.href;

  function failure(reason, message, status) {
    return Object.assign(new Error(message), { reason, status });
  }

  class TurnCall extends EventTarget {
    constructor({ token, url = new URL("/", SOURCE).origin, microphone = {} }) {
      super();
      this.token = token;
      this.url = url;
      this.microphone = microphone; // further constraints of getUserMedia
      this.audio = new Audio();
      this.audio.autoplay = true;
      this.state = "idle";
      this.callId = null;
      this.iceServers = [];
      this.saying = ""; // what the agent has begun to say
      this.settle = () => {}; // ends the wait for a connection
      this.leave = () => this.hangUp();
    }

    /** Calls; resolves when sound flows, or when somebody hangs up before that. Rejects as is said above. */
    async start() {
      if (this.state !== "idle") return;
      this.become("connecting");
      try {
        this.stream = await this.listen();
      } catch (error) {
        if (this.state === "connecting") this.become("idle"); // nobody was asked for anything yet
        throw error;
      }
      window.addEventListener("pagehide", this.leave);
      try {
        this.iceServers = (await this.ask("GET", "/v1/webrtc/ice-servers")).iceServers;
        await this.connect(false);
      } catch (error) {
        if (this.state === "over") return;
        this.end();
        throw error;
      } finally {
        if (this.state === "over") this.silence();
      }
    }

    /** The microphone. */
    async listen() {
      if (!navigator.mediaDevices) throw failure("not-secure", "this page's address is not a secure one");
      try {
        return await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, ...this.microphone } });
      } catch (error) {
        throw failure(MICROPHONE[error.name] || "microphone-failed", error.message || error.name);
      }
    }

    /** Ends the call. */
    hangUp() {
      this.end();
    }

    /** Silences the microphone, or opens it again. */
    mute(isMuted) {
      for (const track of this.stream ? this.stream.getAudioTracks() : []) track.enabled = !isMuted;
    }

    /** Puts a text to the agent, as if it had been said. */
    write(text) {
      this.send("send-text", { content: text });
    }

    /** Presses a key of a telephone: 0 to 9, A to D, * and #. */
    press(key) {
      this.send("dtmf", { buttons: [key] });
    }

    /** Sends an RTVI message. */
    send(type, data) {
      if (this.channel && this.channel.readyState === "open") {
        this.channel.send(JSON.stringify({ label: "rtvi-ai", type, id: crypto.randomUUID(), data }));
      }
    }

    async connect(isRestarted) {
      if (this.state === "over") return;
      const peer = new RTCPeerConnection({ iceServers: this.iceServers });
      const channel = peer.createDataChannel("chat", { ordered: true });
      const before = this.peer;
      this.peer = peer;
      this.channel = channel;
      if (before) before.close();
      channel.onmessage = (event) => this.take(JSON.parse(event.data));
      peer.ontrack = ({ track }) => {
        const stream = new MediaStream([track]);
        if (track.kind === "audio") {
          this.audio.srcObject = stream;
        } else {
          // The agent's avatar: without pictures, at first and once it is lost, its track is muted.
          track.onunmute = () => this.tell("face", stream);
          track.onmute = track.onended = () => this.tell("face", null);
        }
      };
      for (const track of this.stream.getAudioTracks()) {
        peer.addTransceiver(track, { direction: "sendrecv", streams: [this.stream] });
      }
      peer.addTransceiver("video", { direction: "recvonly" });
      const early = [];
      peer.onicecandidate = (event) => early.push(event.candidate);
      await peer.setLocalDescription(await peer.createOffer());
      const offer = { sdp: peer.localDescription.sdp, type: "offer", pc_id: this.callId, restart_pc: isRestarted };
      const answer = await this.ask("POST", "/v1/webrtc/connect", offer);
      this.callId = answer.pc_id;
      if (this.state === "over") return; // somebody has hung up: the connection is closed
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      peer.onicecandidate = (event) => this.trickle([event.candidate]);
      if (early.length) this.trickle(early);
      await new Promise((resolve, reject) => {
        this.settle = channel.onopen = resolve;
        peer.onconnectionstatechange = () => {
          if (["failed", "closed"].includes(peer.connectionState)) {
            reject(failure("no-path", "no path to the agent was found"));
          }
        };
      });
      peer.onconnectionstatechange = null;
      if (this.state === "over") return;
      this.send("client-ready", { version: "2.1.0", about: { library: "turncall.js" } });
      this.become("live");
      this.watch(peer, channel);
    }

    /** Addresses that were found late; a call that is answered already does without them. */
    async trickle(found) {
      const candidates = found.map((one) => ({
        candidate: one ? one.candidate : "",
        sdp_mid: one ? one.sdpMid : null,
        sdp_mline_index: one ? one.sdpMLineIndex : null,
      }));
      try {
        await this.ask("PATCH", "/v1/webrtc/connect", { pc_id: this.callId, candidates });
      } catch (error) {
        console.warn("an address of this page was not taken:", error.message);
      }
    }

    async ask(method, path, body) {
      const headers = { Authorization: `Bearer ${this.token}` };
      if (body) headers["Content-Type"] = "application/json";
      let response;
      try {
        response = await fetch(this.url + path, { method, headers, body: body ? JSON.stringify(body) : undefined });
      } catch (error) {
        throw failure("unreachable", error.message);
      }
      const answer = await response.json().catch(() => ({})); // what stands in between may answer with anything
      if (response.ok) return answer;
      const { status } = response;
      throw failure(REFUSED[status] || "refused", answer.detail || answer.title || `status ${status}`, status);
    }

    watch(peer, channel) {
      let seen = -1;
      let seenAt = performance.now();
      const ping = setInterval(() => {
        if (channel.readyState === "open") channel.send(`ping: ${Date.now()}`);
      }, PING_EVERY_MS);
      const look = setInterval(async () => {
        if (this.peer !== peer || this.state === "over") {
          clearInterval(look);
          clearInterval(ping);
          return;
        }
        for (const report of (await peer.getStats()).values()) {
          if (report.type === "inbound-rtp" && report.packetsReceived !== seen) {
            seen = report.packetsReceived;
            seenAt = performance.now();
          }
        }
        if (this.peer === peer && performance.now() - seenAt > SILENT_AFTER_MS) this.renew();
      }, LOOK_EVERY_MS);
    }

    /** Goes on with the call on a new connection, until somebody answers or the call is over. */
    async renew() {
      if (this.state !== "live") return;
      this.become("renewing");
      const giveUpAt = performance.now() + GIVE_UP_AFTER_MS;
      while (this.state === "renewing") {
        try {
          await this.connect(true);
          return;
        } catch (error) {
          const isRefused = error.status >= 400 && error.status < 500 && error.status !== 429;
          if (this.state === "renewing" && (isRefused || performance.now() > giveUpAt)) {
            this.end();
            this.tell("trouble", { reason: "lost", message: error.message });
          }
        }
        await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER_MS));
      }
    }

    take(message) {
      if (message.type === "signalling") {
        if (message.message.type === "peerLeft") this.end();
        if (message.message.type === "handover") this.renew();
        return;
      }
      const { type, data } = message;
      this.tell("message", message);
      if (type === "user-transcription") {
        this.tell("transcript", { speaker: "caller", text: data.text, isFinal: data.final });
      } else if (type === "bot-tts-text") {
        this.saying = `${this.saying} ${data.text}`.trim();
        this.tell("transcript", { speaker: "agent", text: this.saying, isFinal: false });
      } else if (type === "bot-transcription") {
        this.saying = "";
        this.tell("transcript", { speaker: "agent", text: data.text, isFinal: true });
      } else if (/^(user|bot)-(started|stopped)-speaking$/.test(type)) {
        const speaker = type.startsWith("bot") ? "agent" : "caller";
        this.tell("speaking", { speaker, isSpeaking: type.includes("started") });
      }
    }

    end() {
      if (this.state === "over") return;
      this.become("over");
      window.removeEventListener("pagehide", this.leave);
      if (this.channel) this.channel.close();
      if (this.peer) this.peer.close();
      this.silence();
      this.settle();
    }

    silence() {
      for (const track of this.stream ? this.stream.getTracks() : []) track.stop();
    }

    become(state) {
      this.state = state;
      this.tell("state", state);
    }

    tell(kind, detail) {
      this.dispatchEvent(new CustomEvent(kind, { detail }));
    }
  }

  window.TurnCall = TurnCall;
})();
