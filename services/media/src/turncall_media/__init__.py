"""The media plane: sockets, Pipecat pipelines, model vendors, recordings."""
