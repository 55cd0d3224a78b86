"""A Celery worker and its client in one process; broker in memory, the worker a real one."""

import celery
import serving
from celery.contrib.testing.worker import start_worker
from opentelemetry import baggage, context

app = celery.Celery("app", broker="memory://", backend="cache+memory://")


@app.task
def summarise() -> str:
    return serving.ask_model()


if __name__ == "__main__":
    with start_worker(app, perform_ping_check=False, pool="threads"):
        for user in ("anna", "bert"):
            # What `attribute_to` and the middlewares put there, written without us.
            carried = baggage.set_baggage("user.id", user)
            carried = baggage.set_baggage("llm_cost.user.tier", "pro", carried)
            token = context.attach(carried)
            result = summarise.delay()
            context.detach(token)
            result.get(timeout=30)
        summarise.delay().get(timeout=30)
    print("done", flush=True)
