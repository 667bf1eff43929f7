"""The SDK's mixin, as another DRF project uses it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from crypto_streaming import ERRORS, ErrorCode, pb
from crypto_streaming.contrib.drf import StreamingCommandViewSetMixin, status_word


@pytest.fixture
def view(make: Any) -> Any:
    class PauseView(StreamingCommandViewSetMixin, APIView):
        streaming_address = make.gateway_address
        permission_classes = ()

        def post(self, request: Request) -> Response:
            ack = self.exec_sync_command(
                "c-1", "pause", timeout=5, reason=cast("dict[str, Any]", request.data)["reason"]
            )
            return self.format_command_response({"id": 7, "status": "active"}, ack)

    return PauseView.as_view()


def test_a_view_of_another_project_sends_commands(view: Any, gateway: Any, make: Any) -> None:
    gateway.answers["c-1"] = make.obey
    response = view(APIRequestFactory().post("/", {"reason": "r"}, format="json"))
    assert response.status_code == 200
    assert (response.data["id"], response.data["status"]) == (7, "paused")
    assert response.data["command_result"]["success"] is True
    assert gateway.requests[0].command.pause.reason == "r"


@pytest.mark.parametrize("code", [code for code in ErrorCode if code is not ErrorCode.GATEWAY_UNAVAILABLE])
def test_a_failure_has_its_codes_status(view: Any, gateway: Any, make: Any, code: ErrorCode) -> None:
    gateway.answers["c-1"] = make.failure(code.value)
    assert view(APIRequestFactory().post("/", {"reason": "r"}, format="json")).status_code == ERRORS[code].http_status


def test_every_status_has_a_word() -> None:
    words = [status_word(cast("pb.ClientStatus", number)) for number in pb.ClientStatus.values()]
    assert words == ["unknown", "active", "paused", "error", "stopped"]
    assert status_word(cast("pb.ClientStatus", 99)) == "unknown"
