"""The OTLP processor: prices GenAI spans, aggregates metrics, settles spend."""
