"""The FastAPI example, through its test client."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import List

import httpx
import pytest
from fastapi.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import fastapi_manifests  # noqa: E402

URL = "/plugins/weather/manifest"


def write(root: Path, text: str) -> None:
    (root / "weather").mkdir(exist_ok=True)
    (root / "weather" / "new").write_text(text, "utf-8")
    (root / "weather" / "new").rename(root / "weather" / "manifest.json")


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    return TestClient(fastapi_manifests.make_app(tmp_path))


def test_a_manifest_comes_with_an_etag_and_is_not_sent_twice(
    client: TestClient, tmp_path: Path
) -> None:
    write(tmp_path, '{ "version": 1.0 }')
    first = client.get(URL)
    assert (first.status_code, first.json()) == (200, {"version": 1.0})
    assert first.headers["Content-Type"] == "application/json"
    etag = first.headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(URL, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert client.get(URL, headers={"If-None-Match": '"other"'}).text == first.text


def test_the_etag_is_of_the_manifest(client: TestClient, tmp_path: Path) -> None:
    write(tmp_path, '{"version": 1}')
    first = client.get(URL)
    write(tmp_path, '{"version": 2}')
    assert client.get(URL).text == first.text, "cached"
    assert client.post("/plugins/weather/reload").status_code == 204
    second = client.get(URL, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.text) == (200, '{"version": 2}')
    write(tmp_path, '{"version": 1}')
    client.post("/plugins/weather/reload")
    third = client.get(URL, headers={"If-None-Match": first.headers["ETag"]})
    assert third.status_code == 304, "the manifest is that of the first"


def test_a_missing_manifest_is_404_and_a_broken_one_502(client: TestClient, tmp_path: Path) -> None:
    assert client.get(URL).status_code == 404
    assert client.get("/plugins/%2E%2E/manifest").status_code == 404
    assert client.get("/plugins/a%00b/manifest").status_code == 404
    write(tmp_path, "{")
    broken = client.get(URL)
    assert broken.status_code == 502 and "weather" in broken.json()["detail"]
    write(tmp_path, '{"version": 1}')
    assert client.get(URL).status_code == 200


def test_requests_for_a_cold_plugin_share_one_load_and_others_are_served_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, '{"version": 1}')
    begun, go_on = threading.Event(), threading.Event()
    loads: List[bytes] = []

    def body_slowly(text: bytes) -> fastapi_manifests.Body:
        loads.append(text)
        begun.set()
        go_on.wait(20)
        return body_of(text)

    body_of = fastapi_manifests.body_of

    async def main() -> None:
        transport = httpx.ASGITransport(fastapi_manifests.make_app(tmp_path))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            requests = [asyncio.create_task(client.get(URL)) for _ in range(20)]
            await asyncio.to_thread(begun.wait, 20)
            other = await client.get("/plugins/%2E%2E/manifest")
            assert other.status_code == 404, "served during the load"
            go_on.set()
            for response in await asyncio.gather(*requests):
                assert (response.status_code, response.json()) == (200, {"version": 1})

    monkeypatch.setattr(fastapi_manifests, "body_of", body_slowly)
    asyncio.run(main())
    assert len(loads) == 1
