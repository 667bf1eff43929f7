"""How web3.py's calls get to a node: JSON-RPC over one HTTP session, kept open."""

from __future__ import annotations

import json
from typing import Any, cast

import aiohttp
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse


class RpcProvider(AsyncJSONBaseProvider):
    """Takes the place of `AsyncHTTPProvider`, whose calls must not be cancelled.

    That one fetches its HTTP session under a thread's lock; a call that is cancelled there leaves the lock taken, and
    from then on no call of the process returns, nor does the process end (ApeWorX/web3.py#3867). It also opens a new
    connection for each call.
    """

    def __init__(self, url: str, timeout: float) -> None:
        """Prepare; the session begins with the first call.

        Args:
            url: the node's HTTP address.
            timeout: seconds that one call may take.
        """
        super().__init__()
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Call one method of the node. All that this client calls only reads, so that a call can be repeated.

        Raises:
            aiohttp.ClientError: the node can not be reached, or refuses.
            TimeoutError: it takes too long.
            ValueError: the answer is not JSON.
            TypeError: the answer is not a JSON object.
        """
        body = self.encode_rpc_request(method, params)
        try:
            return await self._post(body)
        except aiohttp.ServerDisconnectedError:
            # The other side closed an idle connection in the moment it was used again.
            return await self._post(body)

    async def disconnect(self) -> None:
        """Close the connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _post(self, body: bytes) -> RPCResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, raise_for_status=True)
        async with self._session.post(self._url, data=body, headers={"Content-Type": "application/json"}) as response:
            answer = json.loads(await response.read())
        if not isinstance(answer, dict):
            raise TypeError(f"the answer is a JSON {type(answer).__name__}, not an object")
        return cast("RPCResponse", answer)
