"""A small ERC-20 token for the development node, written in EVM assembly: no compiler is needed to read or build it.

It has what a watcher of balances needs: `transfer`, `balanceOf`, `symbol`, `decimals` and the `Transfer` event. What is
left out (allowances, name, total supply) a watcher never calls. It takes no coins: a transaction with a value is
reverted, which is how the demonstrations make failed transfers. The balance of an address is kept at the storage key
that is the address itself.
"""

from __future__ import annotations

import re

SYMBOL = "DEMO"
DECIMALS = 6
SUPPLY = 1_000_000_000 * 10**DECIMALS

# The first four bytes of the Keccak hash of each signature, and the whole hash of the event's.
_TRANSFER = "0xa9059cbb"
_BALANCE_OF = "0x70a08231"
_DECIMALS = "0x313ce567"
_SYMBOL = "0x95d89b41"
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

_SYMBOL_WORD = "0x" + SYMBOL.encode().hex().ljust(64, "0")

# A comment shows the stack after the line, its top last. `@name` defines a jump target, `:name` pushes its offset.
_RUNTIME = f"""
    CALLVALUE :refuse JUMPI
    0x00 CALLDATALOAD 0xe0 SHR              ; selector
    DUP1 {_TRANSFER} EQ :transfer JUMPI
    DUP1 {_BALANCE_OF} EQ :balance JUMPI
    DUP1 {_DECIMALS} EQ :decimals JUMPI
    DUP1 {_SYMBOL} EQ :symbol JUMPI
@refuse
    0x00 0x00 REVERT
@transfer
    0x24 CALLDATALOAD CALLER SLOAD          ; selector amount balance
    DUP2 DUP2 LT :refuse JUMPI              ; refused when the balance is below the amount
    DUP2 SWAP1 SUB CALLER SSTORE            ; selector amount
    DUP1 0x04 CALLDATALOAD SLOAD ADD        ; selector amount balance-of-the-recipient
    0x04 CALLDATALOAD SSTORE                ; selector amount
    0x00 MSTORE
    0x04 CALLDATALOAD CALLER {TRANSFER_TOPIC} 0x20 0x00 LOG3
    0x01 :answer JUMP
@balance
    0x04 CALLDATALOAD SLOAD :answer JUMP
@decimals
    0x{DECIMALS:02x}
@answer
    0x00 MSTORE 0x20 0x00 RETURN
@symbol
    0x20 0x00 MSTORE
    0x{len(SYMBOL):02x} 0x20 MSTORE
    {_SYMBOL_WORD} 0x40 MSTORE
    0x60 0x00 RETURN
"""

_OPCODES = {
    "ADD": 0x01, "SUB": 0x03, "LT": 0x10, "EQ": 0x14, "SHR": 0x1C, "CALLER": 0x33, "CALLVALUE": 0x34,
    "CALLDATALOAD": 0x35, "CODECOPY": 0x39, "MSTORE": 0x52, "SLOAD": 0x54, "SSTORE": 0x55, "JUMP": 0x56, "JUMPI": 0x57,
    "JUMPDEST": 0x5B, "DUP1": 0x80, "DUP2": 0x81, "SWAP1": 0x90, "LOG3": 0xA3, "RETURN": 0xF3, "REVERT": 0xFD,
}  # fmt: skip
_PUSH1 = 0x60


def assemble(source: str) -> bytes:
    """Translate assembly into bytecode: names of instructions, hexadecimal constants, `@` and `:` labels."""
    code = bytearray()
    labels: dict[str, int] = {}
    uses: dict[int, str] = {}
    for word in re.sub(r";.*", "", source).split():
        if word.startswith("@"):
            labels[word[1:]] = len(code)
            code.append(_OPCODES["JUMPDEST"])
        elif word.startswith(":"):
            code.append(_PUSH1)
            uses[len(code)] = word[1:]
            code.append(0)
        elif word.startswith("0x"):
            constant = bytes.fromhex(word[2:])
            code += bytes([_PUSH1 - 1 + len(constant)]) + constant
        else:
            code.append(_OPCODES[word])
    for offset, label in uses.items():
        code[offset] = labels[label]
    return bytes(code)


def creation_code() -> str:
    """Build the data of the transaction that creates the token and gives all of it to the sender."""
    runtime = assemble(_RUNTIME)
    length = f"0x{len(runtime):04x}"
    supply = f"0x{SUPPLY:016x} CALLER SSTORE "

    def constructor(offset: int) -> bytes:
        return assemble(f"{supply} {length} 0x{offset:02x} 0x00 CODECOPY {length} 0x00 RETURN")

    return "0x" + (constructor(len(constructor(0))) + runtime).hex()


def transfer(recipient: str, raw: int) -> str:
    """Build the data of a call of `transfer`."""
    return f"{_TRANSFER}{recipient[2:].rjust(64, '0')}{raw:064x}"


def balance_of(address: str) -> str:
    """Build the data of a call of `balanceOf`."""
    return f"{_BALANCE_OF}{address[2:].rjust(64, '0')}"
