"""The WebSocket side: frames, messages, close reasons and the session are pure; connection is the Trio part."""
