"""A chain source over an Ethereum node's JSON-RPC."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import aiohttp
from hexbytes import HexBytes
from web3 import AsyncWeb3, Web3
from web3.exceptions import BlockNotFound, Web3Exception, Web3RPCError
from web3.types import BlockData, LogReceipt, TxReceipt

from .amounts import ETHER_DECIMALS, MAX_DECIMALS
from .rpc import RpcProvider
from .source import Asset, Block, BlockGoneError, BlockRef, SourceUnavailableError, Transfer

_Result = TypeVar("_Result")

_TRANSFER_TOPIC = Web3.keccak(text="Transfer(address,address,uint256)")
_BALANCE_OF = Web3.keccak(text="balanceOf(address)")[:4]
_DECIMALS = Web3.keccak(text="decimals()")[:4]
_SYMBOL = Web3.keccak(text="symbol()")[:4]
_WORD = 32
_STUMBLES = (TypeError, AttributeError, LookupError)


class EvmSource:
    """Reads an Ethereum node: the methods that every current node has, and no subscription that a restart would end.

    Balances and receipts are asked for by the block's hash, so that what one report says belongs together.
    """

    def __init__(self, url: str, *, tokens: tuple[str, ...] = (), coin: str = "ETH", timeout: float = 10.0) -> None:
        """Prepare; nothing is contacted yet.

        Args:
            url: the node's HTTP address.
            tokens: addresses of the ERC-20 contracts that are followed beside the coin.
            coin: symbol of the chain's own coin.
            timeout: seconds that one call may take.
        """
        self._url = url
        self._tokens = tuple(Web3.to_checksum_address(token) for token in tokens)
        self._coin = Asset(coin, ETHER_DECIMALS)
        self._provider = RpcProvider(url, timeout)
        # No middleware: it translates names and validates what is about to be signed, neither of which happens here.
        self._eth = AsyncWeb3(self._provider, middleware=[]).eth
        self._assets: tuple[Asset, ...] | None = None

    async def identity(self) -> str:
        """See `ChainSource`: the chain's number and the hash of its first block."""
        chain_id = await self._ask(self._eth.chain_id)
        genesis = await self._ask(self._eth.get_block(0))
        return f"{chain_id}:{_hex(_present(genesis, 'hash'))}"

    async def assets(self) -> tuple[Asset, ...]:
        """See `ChainSource`. The contracts are asked once for their symbols and decimals."""
        if self._assets is None:
            self._assets = (self._coin, *[await self._describe(token) for token in self._tokens])
        return self._assets

    async def head(self) -> BlockRef:
        """See `ChainSource`."""
        return _ref(await self._ask(self._eth.get_block("latest")))

    async def ref(self, number: int) -> BlockRef | None:
        """See `ChainSource`."""
        try:
            return _ref(await self._ask(self._eth.get_block(number)))
        except BlockGoneError:
            return None

    async def block(self, number: int, addresses: frozenset[str]) -> Block:
        """See `ChainSource`."""
        assets = await self.assets()
        data = await self._ask(self._eth.get_block(number, full_transactions=True))
        ref = _ref(data)
        transfers: list[Transfer] = []
        if data.get("transactions"):
            receipts = await self._ask(self._eth.get_block_receipts(HexBytes(ref.hash)))
            transfers = self._transfers(data, receipts, assets, addresses)
        return Block(ref, _hex(_present(data, "parentHash")), _present(data, "timestamp"), tuple(transfers))

    async def balance(self, address: str, asset: Asset, at: BlockRef) -> int:
        """See `ChainSource`."""
        holder = Web3.to_checksum_address(address)
        block = HexBytes(at.hash)
        if asset.contract is None:
            return await self._ask(self._eth.get_balance(holder, block))
        data = HexBytes(_BALANCE_OF + bytes.fromhex(address[2:]).rjust(_WORD, b"\0"))
        word = await self._ask(
            self._eth.call({"to": Web3.to_checksum_address(asset.contract), "data": data}, block),
        )
        # Where no contract is (not yet, or on a development chain that was started afresh) the answer is empty.
        return int.from_bytes(word, "big")

    async def close(self) -> None:
        """See `ChainSource`."""
        await self._provider.disconnect()

    def _transfers(
        self, data: BlockData, receipts: list[TxReceipt], assets: tuple[Asset, ...], addresses: frozenset[str]
    ) -> list[Transfer]:
        tokens = {asset.contract: asset for asset in assets if asset.contract is not None}
        by_hash = {_hex(receipt["transactionHash"]): receipt for receipt in receipts}
        found: list[Transfer] = []
        for transaction in data.get("transactions", ()):
            if isinstance(transaction, (bytes, str)):
                raise SourceUnavailableError("the node did not give full transactions")
            transaction_hash = _hex(_present(transaction, "hash"))
            receipt = by_hash.get(transaction_hash)
            if receipt is None:
                raise SourceUnavailableError(f"the node gave no receipt for {transaction_hash}")
            succeeded = receipt.get("status", 1) == 1
            value = int(transaction.get("value", 0))
            if value > 0:
                recipient = transaction.get("to")
                created = receipt.get("contractAddress") if recipient is None and succeeded else None
                found.append(
                    Transfer(
                        transaction=transaction_hash,
                        index=None,
                        asset=assets[0],
                        sender=str(_present(transaction, "from")).lower(),
                        recipient=str(recipient or created).lower() if recipient or created else None,
                        raw=value,
                        succeeded=succeeded,
                        created=created is not None,
                    )
                )
            for index, event in enumerate(receipt.get("logs", ())):
                transfer = _token_transfer(transaction_hash, index, event, tokens)
                if transfer is not None:
                    found.append(transfer)
        return [transfer for transfer in found if transfer.sender in addresses or transfer.recipient in addresses]

    async def _describe(self, token: str) -> Asset:
        """Ask a contract for its symbol and decimals.

        Raises:
            SourceUnavailableError: it answers neither as the standard says.
        """
        to = Web3.to_checksum_address(token)
        decimals = await self._ask(self._eth.call({"to": to, "data": HexBytes(_DECIMALS)}))
        symbol = await self._ask(self._eth.call({"to": to, "data": HexBytes(_SYMBOL)}))
        if len(decimals) != _WORD or int.from_bytes(decimals, "big") > MAX_DECIMALS:
            raise SourceUnavailableError(f"{token} answers decimals() with {decimals.hex()!r}: not a token here")
        name = _text(bytes(symbol))
        if not name or not name.isprintable():
            raise SourceUnavailableError(f"{token} answers symbol() with {symbol.hex()!r}: not a token here")
        return Asset(name, int.from_bytes(decimals, "big"), token.lower())

    async def _ask(self, call: Awaitable[_Result]) -> _Result:
        """Await one call and tell apart "no such block" and "not now".

        The library lets the errors of its HTTP client, of sockets, of JSON and its own through, and stumbles over
        answers of another shape; what they have in common is that the same question may be answered later.
        """
        try:
            return await call
        except BlockNotFound as error:
            raise BlockGoneError(str(error)) from None
        except Web3RPCError as error:
            if _names_missing_block(error):
                raise BlockGoneError(str(error)) from None
            raise SourceUnavailableError(f"{self._url}: {error}") from error
        except (Web3Exception, aiohttp.ClientError, OSError, ValueError, *_STUMBLES) as error:
            raise SourceUnavailableError(f"{self._url}: {type(error).__name__}: {error}") from error


def _names_missing_block(error: Web3RPCError) -> bool:
    # EIP-1474: -32001 "resource not found". Geth says it in words, under -32000, where it prunes state too.
    text = str(error).lower()
    return "-32001" in text or "header not found" in text or "unknown block" in text


def _token_transfer(transaction: str, index: int, event: LogReceipt, tokens: dict[str, Asset]) -> Transfer | None:
    asset = tokens.get(str(event["address"]).lower())
    topics = event["topics"]
    # ERC-721 has the same signature with the token's number as a fourth topic and no data.
    if asset is None or len(topics) != 3 or bytes(topics[0]) != _TRANSFER_TOPIC or len(event["data"]) != _WORD:
        return None
    return Transfer(
        transaction=transaction,
        index=index,
        asset=asset,
        sender=_address(topics[1]),
        recipient=_address(topics[2]),
        raw=int.from_bytes(event["data"], "big"),
    )


def _present(data: Mapping[str, Any], key: str) -> Any:
    """Take what a node must give, and the library's types call optional."""
    value = data.get(key)
    if value is None:
        raise SourceUnavailableError(f"the node's answer has no {key!r}")
    return value


def _ref(data: BlockData) -> BlockRef:
    return BlockRef(int(_present(data, "number")), _hex(_present(data, "hash")))


def _hex(value: bytes | str) -> str:
    return "0x" + HexBytes(value).hex().removeprefix("0x")


def _address(topic: bytes) -> str:
    return "0x" + bytes(topic)[-20:].hex()


def _text(answer: bytes) -> str:
    """Read a string that a contract returned: ABI-encoded, or (older tokens) 32 bytes padded with zeros."""
    if len(answer) >= 3 * _WORD:
        length = int.from_bytes(answer[_WORD : 2 * _WORD], "big")
        answer = answer[2 * _WORD : 2 * _WORD + min(length, 64)]
    return answer.strip(b"\0").decode("utf-8", "replace")
