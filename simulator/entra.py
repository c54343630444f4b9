"""Microsoft Entra ID, as far as an application needs it to get a token: discovery documents and the client-credential grant.

Tokens are signed by the simulator and carry the client, the audience and an expiry. The expiry counts in real time, whatever the virtual
time is, because the client libraries judge a token by the machine's clock.
"""

import base64
import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from simulator.kernel.arm import ArmError
from simulator.kernel.clock import wall_seconds

if TYPE_CHECKING:
    from simulator.cloud import Cloud

TOKEN_LIFE_S = 3599  # what Entra gives by default


class Entra:
    """One tenant with its registered applications."""

    def __init__(self, cloud: "Cloud") -> None:
        self._clients = {client.client_id.lower(): client for client in cloud.scenario.clients}
        self._tenant = cloud.scenario.tenant_id
        self._key = secrets.token_bytes(32)

    def web_routes(self) -> list[BaseRoute]:
        """Discovery and token endpoints, at the paths where the client libraries look for them."""
        return [
            Route("/common/discovery/instance", self._instance),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", self._configuration),
            Route("/{tenant}/.well-known/openid-configuration", self._configuration),
            Route("/{tenant}/oauth2/v2.0/token", self._token, methods=["POST"]),
        ]

    def identify(self, headers: dict[str, str]) -> str:
        """The client id in the bearer token. Raises the 401 that Azure answers without a good one."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorised("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        payload, _, signature = token.partition(".")
        if not hmac.compare_digest(signature, self._sign(payload)):
            raise _unauthorised("InvalidAuthenticationToken", "The access token is invalid.")
        claims = json.loads(base64.urlsafe_b64decode(payload))
        if claims["exp"] < wall_seconds():
            raise _unauthorised(
                "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."
            )
        return str(claims["appid"])

    def audience(self, headers: dict[str, str]) -> str:
        """What the bearer token was asked for; the token has been looked at already."""
        payload = headers["authorization"].partition(" ")[2].partition(".")[0]
        return str(json.loads(base64.urlsafe_b64decode(payload))["aud"])

    def token_for(self, client_id: str, audience: str = "") -> str:
        """A token for a client, without asking for its secret."""
        claims = {"appid": client_id, "aud": audience, "exp": int(wall_seconds()) + TOKEN_LIFE_S}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
        return f"{payload}.{self._sign(payload)}"

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()

    async def _instance(self, request: Request) -> Response:
        base = f"{request.url.scheme}://{request.url.netloc}"
        return JSONResponse(
            {
                "tenant_discovery_endpoint": f"{base}/{self._tenant}/v2.0/.well-known/openid-configuration",
                "api-version": "1.1",
                "metadata": [],
            }
        )

    async def _configuration(self, request: Request) -> Response:
        base = f"{request.url.scheme}://{request.url.netloc}/{request.path_params['tenant']}"
        return JSONResponse(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "issuer": f"{base}/v2.0",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _token(self, request: Request) -> Response:
        asked = {key: values[-1] for key, values in parse_qs((await request.body()).decode()).items()}
        if request.path_params["tenant"].lower() != self._tenant.lower():
            return _refused(
                400,
                "invalid_request",
                f"AADSTS90002: Tenant '{request.path_params['tenant']}' not found. Check to make sure you have the correct tenant ID.",
            )
        client = self._clients.get(asked.get("client_id", "").lower())
        if client is None:
            return _refused(
                400,
                "unauthorized_client",
                f"AADSTS700016: Application with identifier '{asked.get('client_id')}' was not found in the directory.",
            )
        if asked.get("grant_type") != "client_credentials":
            return _refused(400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
        if not hmac.compare_digest(client.secret, asked.get("client_secret", "")):
            return _refused(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
        token = self.token_for(client.client_id, asked.get("scope", "").removesuffix("/.default"))
        answer = {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE_S,
            "ext_expires_in": TOKEN_LIFE_S,
            "access_token": token,
        }
        return JSONResponse(answer)


def _refused(status: int, error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description, "error_codes": []}, status)


def _unauthorised(code: str, message: str) -> ArmError:
    challenge = 'Bearer authorization_uri="https://login.microsoftonline.com/", error="invalid_token"'
    return ArmError(401, code, message, headers={"www-authenticate": challenge})
