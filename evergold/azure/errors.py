"""What Azure refuses, in words an operator can act on.

Every failure that leaves `evergold.azure` is an `AzureFailure`: what was being done, to which resource, what Azure said,
whether waiting may help, and what to do next. The table `RULES` is the knowledge behind it. One code can mean opposite
things (`OperationNotAllowed` is an exhausted quota, a VM that is generalised, or an operation still under way), so a rule
may look at the message too; the first rule that fits wins.

Sources: Azure's pages on request limits, compute throttling, allocation failures and common VM error messages, and
issue threads where the full text was quoted.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)

T = TypeVar("T")


class AzureFailure(Exception):  # noqa: N818  (it is what happened, and reads so in `except AzureFailure as failure`)
    """Azure did not do what we asked.

    Attributes:
        what: what was being done, as a verb phrase ("create the virtual machine").
        resource: the name or id of what it was done to.
        code: Azure's error code, or one of ours: ConnectionFailed, NoAnswer, UnreadableAnswer,
            UntrustedCertificate, TookTooLong, AuthenticationFailed, Http<nnn>.
        message: Azure's own words.
        retryable: True if the same call may succeed later with nothing changed by a person.
        remedy: what to do next.
        status: the HTTP status, or None if no answer came.

    """

    def __init__(
        self,
        what: str,
        resource: str,
        code: str,
        message: str,
        retryable: bool,
        remedy: str,
        status: int | None = None,
    ) -> None:
        super().__init__(what, resource, code, message, retryable, remedy, status)
        self.what = what
        self.resource = resource
        self.code = code
        self.message = message
        self.retryable = retryable
        self.remedy = remedy
        self.status = status

    def __str__(self) -> str:
        return f"Could not {self.what} ({self.resource}). Azure: {self.code}: {self.message} What to do: {self.remedy}"


@dataclass(frozen=True)
class Rule:
    """How to read one kind of refusal.

    Attributes:
        codes: the error codes it applies to, in any case; "*" for any.
        says: a regular expression the message must contain, or "" for any message.
        retryable: as in `AzureFailure`.
        remedy: as in `AzureFailure`.

    """

    codes: tuple[str, ...]
    says: str
    retryable: bool
    remedy: str

    def fits(self, code: str, message: str) -> bool:
        """Whether this rule is about that code and message."""
        known = "*" in self.codes or code.casefold() in {c.casefold() for c in self.codes}
        return known and (not self.says or re.search(self.says, message, re.IGNORECASE | re.DOTALL) is not None)


THROTTLED = ("TooManyRequests", "SubscriptionRequestsThrottled", "ThrottledError")

RULES: tuple[Rule, ...] = (
    Rule(
        THROTTLED,
        "",
        True,
        "Azure is throttling this subscription. Evergold waits and tries again; if it goes on, "
        "look for another tool that reads the same subscription.",
    ),
    # OperationNotAllowed: a family of unrelated refusals under one code.
    Rule(
        ("OperationNotAllowed", "QuotaExceeded"),
        r"exceeding approved|quota",
        False,
        "Ask for more vCPU quota for this VM family and region, choose another VM size, or lower max_surge.",
    ),
    Rule(("OperationNotAllowed",), "too many requests", True, "Azure is throttling; wait and try again."),
    Rule(("OperationNotAllowed",), "marked for deletion", True, "It is being deleted; wait until it is gone."),
    Rule(
        ("OperationNotAllowed",),
        r"another operation is in progress|ongoing operation",
        True,
        "Another operation on this VM is under way; wait until it has ended.",
    ),
    Rule(
        ("OperationNotAllowed",),
        "is generalized",
        False,
        "A generalised VM can never start again. Build from a new VM or copy; this one may be deleted.",
    ),
    Rule(("OperationNotAllowed",), "since the VM is running", False, "Deallocate the VM first, then generalise it."),
    Rule(
        ("OperationNotAllowed",),
        r"Cannot modify extensions in the VM when the VM is not running",
        False,
        "Start the VM first, then try again.",
    ),
    Rule(
        ("OperationNotAllowed",),
        r"extension '.*' in failed state",
        False,
        "Remove the failed extension, or delete the VM and let it be created again.",
    ),
    Rule(
        ("OperationNotAllowed",),
        "TrustedLaunch",
        False,
        "Managed images cannot be made of Trusted Launch VMs: publish through the gallery.",
    ),
    # Placement.
    Rule(("SkuNotAvailable",), "", False, "This VM size cannot be had there: choose another size, zone or region."),
    Rule(
        ("AllocationFailed", "ZonalAllocationFailed"),
        "",
        True,
        "The region has no room for this VM size just now. Wait minutes to hours, or allow another size or zone.",
    ),
    Rule(
        ("OverconstrainedAllocationRequest", "OverconstrainedZonalAllocationRequest"),
        "",
        False,
        "No hardware meets all the constraints together: drop one (zone, size, accelerated networking, disk type).",
    ),
    Rule(("SubnetIsFull",), "", False, "The subnet has no free address: free some, or use a larger subnet."),
    # What came up inside the VM.
    Rule(
        ("OSProvisioningTimedOut",),
        "",
        False,
        "Look at the VM: it may still come up by itself. If it does not within "
        "the hour, delete it; Evergold then makes another.",
    ),
    Rule(
        ("OSProvisioningClientError",),
        "",
        False,
        "The image was not generalised properly. Do not promote it: build "
        "again, and read the sysprep proof of this version.",
    ),
    Rule(
        ("VMExtensionProvisioningTimeout",),
        "",
        False,
        "The extension ran into the 90 minute limit. Read its log in the "
        "VM (C:\\WindowsAzure\\Logs\\Plugins), remove the cause, delete the VM or restart it.",
    ),
    Rule(
        ("VMExtensionProvisioningError", "VMExtensionHandlerNonTransientError"),
        "",
        False,
        "Read the extension's message above and its log in the VM (C:\\WindowsAzure\\Logs\\Plugins).",
    ),
    Rule(
        ("VMAgentStatusCommunicationError",),
        "",
        False,
        "The VM agent does not report. See if the VM boots, and if its agent service runs.",
    ),
    # Writes that met one another.
    Rule(
        ("Conflict", "AnotherOperationInProgress", "RetryableError", "RetryableErrorDueToAnotherOperation"),
        "",
        True,
        "Another write to the same resource is under way; wait and try again.",
    ),
    Rule(
        ("OperationPreempted",), "", True, "A newer write took this one's place: read the resource again, then retry."
    ),
    # What Azure says of a network card that another VM has, and of one that a VM was to have which could not be provisioned: seen in
    # pulumi/pulumi-azure#441, cloudfoundry/docs-bosh#155 and rancher/machine#359, gardenlinux/gardenlinux#4133.
    Rule(
        ("NicInUse", "NicReservedForAnotherVm"),
        "",
        True,
        "Another machine has this network card, or was to have it: wait until that is gone, and three minutes more if it had failed.",
    ),
    Rule(
        ("PreconditionFailed",),
        "",
        False,
        "It exists already, or changed since it was read. Read it again before deciding.",
    ),
    Rule(
        ("ConflictingUserInput",),
        "already exists in resource group",
        False,
        "A disk of that name was left behind by another machine: delete it, if nobody needs it.",
    ),
    # Images.
    Rule(
        ("GalleryImageNotFound",),
        "",
        True,
        "The version is not (yet) in this region: wait for its replication, and "
        "check that the region is among the image set's publish regions.",
    ),
    Rule(
        ("*",),
        "Gallery replication jobs failed",
        False,
        "Start the run again: regions that failed are taken out and added again; or publish a new version.",
    ),
    Rule(
        ("InvalidParameter",),
        "exclude from latest",
        False,
        "No version in this region counts as latest: promote one, or name the exact version.",
    ),
    Rule(
        ("CannotDeleteResource",), "", True, "Azure still counts a child of it that is just being deleted; try later."
    ),
    # Rights and locks.
    Rule(("ScopeLocked",), "", False, "A lock forbids this: remove the lock, or let its owner do this step."),
    Rule(
        ("AuthorizationFailed", "InsufficientAccessError", "LinkedAuthorizationFailed"),
        "",
        False,
        "Give Evergold's identity the role in deployments/ at this scope. A new assignment takes up to 30 minutes (for "
        "logs, 60) to work.",
    ),
    Rule(
        ("Authorization_RequestDenied", "Forbidden", "ErrorAccessDenied"),
        "",
        False,
        "Give Evergold's application the Microsoft Graph application permissions in docs/windows-365.md, and let an "
        "administrator consent to them. A new consent takes some minutes to work.",
    ),
    Rule(
        (
            "InvalidAuthenticationToken",
            "InvalidAuthenticationTokenAudience",
            "ExpiredAuthenticationToken",
            "AuthenticationFailed",
            "InvalidAuthenticationTokenTenant",
            "invalid_client",
            "unauthorized_client",
            "invalid_request",
            "invalid_scope",
            "invalid_resource",
        ),
        "",
        False,
        "Check the environment file: tenant, client id, secret variable, cloud and endpoints must belong together.",
    ),
    Rule(
        ("MissingSubscriptionRegistration",),
        "",
        False,
        "Register the resource provider in the subscription: az provider register --namespace <name in the message>.",
    ),
    # Azure Virtual Desktop.
    Rule(
        ("*",),
        "ExpirationTime value must be between",
        False,
        "A registration token lives from one hour to 27 days; check this machine's clock.",
    ),
    # Log Analytics.
    Rule(
        ("PathNotFoundError",),
        "",
        False,
        "Check log_analytics_workspace_id in the environment file: it is the "
        "workspace's GUID, not its name or resource id.",
    ),
    Rule(
        ("BadArgumentError", "SemanticError", "SyntaxError"),
        r"failed to resolve (table|scalar|column)",
        False,
        "No data of that kind ever arrived in this workspace: check that its diagnostic settings and data collection "
        "rules send to it.",
    ),
    Rule(("BadArgumentError", "SemanticError", "SyntaxError"), "", False, "The query is wrong; please report it."),
    # Gone.
    Rule(("ResourceGroupNotFound",), "", False, "Create the resource group, or correct its name in the image set."),
    Rule(("ResourceGroupBeingDeleted",), "", False, "The resource group is being deleted: use another one."),
    Rule(
        (
            *("ResourceNotFound", "NotFound", "ParentResourceNotFound", "ImageNotFound", "Http404"),
            *("Request_ResourceNotFound", "cloudPcNotFound"),
        ),
        "",
        False,
        "Check that it exists and that its name is right.",
    ),
    # Ours, for when no answer says anything.
    Rule(
        ("UntrustedCertificate",),
        "",
        False,
        "If this is the simulator or a proxy that opens TLS, name its authority as ca_file in the environment file.",
    ),
    Rule(("ConnectionFailed",), "", True, "Check the network, proxy and DNS between here and this address."),
    Rule(
        ("UnreadableAnswer",),
        "",
        True,
        "Something between here and Azure answered in its place (a proxy, a gateway): try later, or look at the proxy.",
    ),
    Rule(("NoAnswer",), "", True, "The answer did not arrive: read the resource to see whether it was done."),
    Rule(("TookTooLong",), "", False, "Look at the resource in the portal; the operation may still end by itself."),
)

ANSWER_LATER = frozenset({408, 429, 500, 502, 503, 504})
DEFAULT_REMEDY = "Read Azure's message above; the resource's activity log in the portal has the whole story."


@dataclass(frozen=True)
class Refusal:
    """An error as Azure put it: the outer code, the message with its innermost cause, and every code found inside."""

    code: str
    message: str
    inner_codes: tuple[str, ...] = ()


def failure(what: str, resource: str, refusal: Refusal, status: int | None = None) -> AzureFailure:
    """Build the `AzureFailure` for a refusal, with what the table knows about it."""
    for code in (*reversed(refusal.inner_codes), refusal.code):
        for rule in RULES:
            if rule.fits(code, refusal.message):
                return AzureFailure(what, resource, code, refusal.message, rule.retryable, rule.remedy, status)
    if status in ANSWER_LATER:
        remedy = "Azure is busy or has a fault; Evergold has tried again already. See Azure's status page."
        return AzureFailure(what, resource, refusal.code, refusal.message, True, remedy, status)
    return AzureFailure(what, resource, refusal.code, refusal.message, False, DEFAULT_REMEDY, status)


def took_too_long(what: str, resource: str, seconds: float) -> AzureFailure:
    """The failure for an operation that had not ended after that many seconds."""
    return failure(what, resource, Refusal("TookTooLong", f"Not done after {seconds / 60:.0f} minutes."))


def failure_from(error: AzureError, what: str, resource: str) -> AzureFailure:
    """Translate an SDK exception."""
    if isinstance(error, HttpResponseError) and error.response is not None:
        status = error.response.status_code or 0
        return failure(what, resource, _refusal_in(error, status), status)
    if isinstance(error, ClientAuthenticationError):
        return failure(what, resource, Refusal("AuthenticationFailed", _one_line(error)))
    if untrusted(error):
        return failure(what, resource, Refusal("UntrustedCertificate", _one_line(error)))
    if isinstance(error, ServiceRequestError):
        return failure(what, resource, Refusal("ConnectionFailed", _one_line(error)))
    if isinstance(error, ServiceResponseError):
        return failure(what, resource, Refusal("NoAnswer", _one_line(error)))
    return failure(what, resource, Refusal(type(error).__name__, _one_line(error)))


def untrusted(error: BaseException | None) -> bool:
    """Whether a connection failed because the other side's certificate is not trusted."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def explaining(what: str, resource: str) -> Iterator[None]:
    """Turn any SDK exception raised inside into an `AzureFailure` about `what` and `resource`."""
    try:
        yield
    except AzureError as error:
        raise failure_from(error, what, resource) from error
    except json.JSONDecodeError as error:  # what some SDK clients raise over a gateway's HTML page
        raise failure(what, resource, Refusal("UnreadableAnswer", f"The answer is not JSON: {error}.")) from error


async def found(call: Callable[[], Awaitable[T]], what: str, resource: str) -> T | None:
    """The result of a read, or None where Azure answers that there is no such thing (404)."""
    with explaining(what, resource):
        try:
            return await call()
        except ResourceNotFoundError:
            return None


async def gone(call: Callable[[], Awaitable[Any]], what: str, resource: str) -> None:
    """Make a delete; that there is nothing to delete (404) counts as done."""
    with explaining(what, resource):
        try:
            await call()
        except ResourceNotFoundError:
            return


def raise_failed(what: str, resource: str, code: str, message: str) -> NoReturn:
    """Raise the failure for an error read out of a resource's own state rather than out of an answer."""
    raise failure(what, resource, Refusal(code, message))


def _refusal_in(error: HttpResponseError, status: int) -> Refusal:
    try:
        body = json.loads(error.response.text())  # type: ignore[union-attr]
    except (ValueError, AttributeError, AzureError):
        return Refusal(f"Http{status}", _one_line(error))
    return refusal_in_body(body, status) or Refusal(f"Http{status}", _one_line(error))


def refusal_in_body(body: object, status: int) -> Refusal | None:
    """Read an error body: ARM's {"error": {...}}, compute's throttling body without the wrapper, and AVD's texts."""
    if not isinstance(body, Mapping):
        return None
    error = body.get("error", body)
    if isinstance(error, str):  # Entra: {"error": "invalid_client", "error_description": "..."}
        return Refusal(error, str(body.get("error_description", error)))
    if not isinstance(error, Mapping) or not (error.get("code") or error.get("message")):
        return None
    causes = list(_causes(error))
    message = str(error.get("message") or "")
    for _, text in causes:
        if text and text not in message:
            message = f"{message} Cause: {text}".strip()
    return Refusal(str(error.get("code") or f"Http{status}"), message, tuple(code for code, _ in causes if code))


def _causes(error: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Codes and messages inside an error, outermost first."""
    inner = error.get("innererror") or error.get("innerError")
    children = [*(error.get("details") or []), *([inner] if inner else [])]
    for child in children:
        if isinstance(child, Mapping):
            yield str(child.get("code") or ""), str(child.get("message") or "")
            yield from _causes(child)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
