"""Generated: how the processor reads OTLP. See proto/llm_cost_processor/raw/v1/raw.proto."""
