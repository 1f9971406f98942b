"""The page's events, asked as a browser asks them, without one."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx

COMPLETED = "process_completed"
"""What the server says last of an event."""


class Visitor:
    """Somebody who has the page open.

    Args:
        url: of the server.
    """

    def __init__(self, url: str):
        self.client = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self.config: dict[str, Any] = self.client.get("/config").json()
        self._session = secrets.token_hex(6)
        self._ids = {
            one["props"]["elem_id"]: one["id"] for one in self.config["components"] if one["props"].get("elem_id")
        }

    def upload(self, *paths: Path) -> list[dict[str, Any]]:
        """Upload files; what events take for them."""
        parts = [("files", (path.name, path.read_bytes())) for path in paths]
        found = self.client.post("/gradio_api/upload", files=parts).json()
        return [sent(path) for path in found]

    def ask(self, name: str, event: str, given: dict[str, Any], data: Any = None) -> dict[str, Any]:
        """Have an event happen.

        Args:
            name: of the component whose event it is.
            event: which one.
            given: values of components, by their names; others have the values that they began with.
            data: of the event.

        Returns:
            Whether it was a `success`, and the values of components in the end, by their names.
        """
        assert set(given) <= set(self._ids)
        target = [self._ids[name], event]
        (call,) = (one for one in self.config["dependencies"] if target in [list(its) for its in one["targets"]])
        names = {number: name for name, number in self._ids.items()}
        values = {one["id"]: one["props"].get("value") for one in self.config["components"]}
        body = {
            "data": [given.get(names.get(number, ""), values[number]) for number in call["inputs"]],
            "event_data": data,
            "fn_index": call["id"],
            "trigger_id": target[0],
            "session_hash": self._session,
        }
        self.client.post("/gradio_api/queue/join", json=body).raise_for_status()
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data: "):
                    continue
                said = json.loads(line[len("data: ") :])
                if said["msg"] == COMPLETED:
                    outputs = [names.get(number, "") for number in call["outputs"]]
                    return {"success": said["success"], **_shown(said["output"], outputs)}
        raise AssertionError("the server said nothing of the end")


def sent(path: str) -> dict[str, Any]:
    """A file as events take it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _shown(output: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Values of components by their names; those that stay as they are are left out."""
    found: dict[str, Any] = {}
    for name, value in zip(names, output.get("data") or [], strict=False):
        if not isinstance(value, dict) or value.get("__type__") != "update":
            found[name] = value
        elif "value" in value:
            found[name] = value["value"]
    return found
