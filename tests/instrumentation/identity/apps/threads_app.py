"""An attributed request that goes on in threads, a pool, tasks and `to_thread`."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import serving

import llm_cost


@llm_cost.attribute_to(user_id="thread", tier="pro")
def in_a_thread() -> None:
    thread = threading.Thread(target=serving.ask_model)
    thread.start()
    thread.join()


@llm_cost.attribute_to(user_id="pool", tier="pro")
def in_a_pool(pool: ThreadPoolExecutor) -> None:
    pool.submit(serving.ask_model).result()


@llm_cost.attribute_to(user_id="task", tier="pro")
async def in_a_task() -> None:
    await asyncio.create_task(serving.ask_model_async())


@llm_cost.attribute_to(user_id="to_thread", tier="pro")
async def in_to_thread() -> None:
    await asyncio.to_thread(serving.ask_model)


if __name__ == "__main__":
    in_a_thread()
    with ThreadPoolExecutor(1) as pool:
        serving_thread = pool.submit(int)  # the pool's thread exists before the request
        serving_thread.result()
        in_a_pool(pool)
    asyncio.run(in_a_task())
    asyncio.run(in_to_thread())
