from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("gateway_id", "entries")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    entries: _containers.RepeatedCompositeFieldContainer[FrameEntry]
    def __init__(self, gateway_id: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[FrameEntry, _Mapping]]] = ...) -> None: ...

class FrameEntry(_message.Message):
    __slots__ = ("client_id", "epoch", "position", "received_at_us", "report", "rejected", "opened", "closed")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    epoch: int
    position: int
    received_at_us: int
    report: bytes
    rejected: Rejected
    opened: SessionOpened
    closed: SessionClosed
    def __init__(self, client_id: _Optional[str] = ..., epoch: _Optional[int] = ..., position: _Optional[int] = ..., received_at_us: _Optional[int] = ..., report: _Optional[bytes] = ..., rejected: _Optional[_Union[Rejected, _Mapping]] = ..., opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., closed: _Optional[_Union[SessionClosed, _Mapping]] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("reason", "detail", "message_id", "payload", "length", "sha256")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    reason: str
    detail: str
    message_id: str
    payload: bytes
    length: int
    sha256: bytes
    def __init__(self, reason: _Optional[str] = ..., detail: _Optional[str] = ..., message_id: _Optional[str] = ..., payload: _Optional[bytes] = ..., length: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("peer",)
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: str
    def __init__(self, peer: _Optional[str] = ...) -> None: ...

class SessionClosed(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class PresenceSnapshot(_message.Message):
    __slots__ = ("gateway_id", "sessions")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    sessions: _containers.RepeatedCompositeFieldContainer[Presence]
    def __init__(self, gateway_id: _Optional[str] = ..., sessions: _Optional[_Iterable[_Union[Presence, _Mapping]]] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("client_id", "epoch", "last_seen_us")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_US_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    epoch: int
    last_seen_us: int
    def __init__(self, client_id: _Optional[str] = ..., epoch: _Optional[int] = ..., last_seen_us: _Optional[int] = ...) -> None: ...
