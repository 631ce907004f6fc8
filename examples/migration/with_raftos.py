"""Counts visits with raftos 0.2.6; does not run on current Pythons (docs/migration.md)."""

import asyncio

import raftos


async def main() -> None:
    own = "127.0.0.1:8000"
    raftos.configure({"log_path": "./raftos-data/"})
    await raftos.register(own, cluster=[own, "127.0.0.1:8001", "127.0.0.1:8002"])
    await raftos.wait_until_leader(own)
    visits = raftos.ReplicatedDict(name="visits")
    for _ in range(2):
        count = (await visits.get()).get("/home", 0)
        await visits.update({"/home": count + 1})
    print(f"visits of /home: {(await visits.get())['/home']}")


if __name__ == "__main__":
    asyncio.run(main())
