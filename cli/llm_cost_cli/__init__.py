"""The `llm-cost` command: runs the services, speaks gRPC to them, shows the demo."""
