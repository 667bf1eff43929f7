"""Every path of the service."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from command_api.portfolio.views import TransactionDetail, TransactionList, WalletDetail, WalletList

urlpatterns = [
    path("api/crypto/commands/", include("command_api.fleet.urls")),
    path("api/crypto/wallets/", WalletList.as_view(), name="wallet-list"),
    path("api/crypto/wallets/<int:pk>/", WalletDetail.as_view(), name="wallet-detail"),
    path("api/crypto/transactions/", TransactionList.as_view(), name="transaction-list"),
    path("api/crypto/transactions/<int:pk>/", TransactionDetail.as_view(), name="transaction-detail"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    # Log in and out from the browsable API.
    path("api/auth/", include("rest_framework.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "command_api.errors.bad_request"
handler403 = "command_api.errors.permission_denied"
handler404 = "command_api.errors.not_found"
handler500 = "command_api.errors.server_error"
