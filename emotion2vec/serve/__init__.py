"""Models behind HTTP and WebSocket: requests are decoded and answered in processes of their own."""
