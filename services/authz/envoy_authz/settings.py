"""The options of `envoy-authz serve`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from envoy_authz.core import Action, Normalization, Options, PathAmbiguity
from envoy_authz.core.attributes import KEYS, parse_key
from envoy_authz.decision_log import DecisionLog, FileSink, Masks, OtlpSink, Sink, StdoutSink
from envoy_authz.tokens.schedule import Timing
from envoy_sidecar.settings import (
    WORKER_PLACEHOLDER,
    AdminOption,
    ListenOption,
    ServerSettings,
    SettingsError,
    source_paths,
)
from envoy_sidecar.workers import worker_from_environment

_NO_FILES = frozenset({"off", "stdout", "otlp"})
_SHARE = validators.Number(gte=0, lte=1)
DEFAULT_ADMIN = "127.0.0.1:9192"
PoliciesOption = Annotated[
    tuple[Path, ...],
    source_paths(
        "AuthorizationPolicy files, or folders of them with all below; watched and read again when they change."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AuthzSettings(ServerSettings):
    """What every service has, and where the policies are."""

    policies: PoliciesOption
    listen: ListenOption = "127.0.0.1:9191"
    admin: AdminOption = DEFAULT_ADMIN
    default_action: Annotated[
        Literal["deny", "allow"],
        Parameter(help="What happens when no ALLOW policy applies and no DENY policy matches."),
    ] = "deny"
    root_namespace: Annotated[
        str, Parameter(help="The namespace whose policies apply to the workloads of all namespaces.")
    ] = "istio-system"
    trusted_hops: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=0, lte=32),
            help="Proxies before Envoy whose X-Forwarded-For is believed, for remoteIpBlocks and remote.ip.",
        ),
    ] = 0
    path_normalization: Annotated[
        Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"],
        Parameter(help="How paths are normalized before they are compared, as in Istio."),
    ] = "BASE"
    path_ambiguity: Annotated[
        Literal["deny", "report", "off"],
        Parameter(help="What happens to an allowed request that read in another way would be denied."),
    ] = "deny"
    on_error: Annotated[
        Literal["deny", "rpc"],
        Parameter(
            help="When the service itself fails: a denial, or rpc, which an Envoy that fails open lets pass."
        ),
    ] = "deny"

    identity: Annotated[
        Path | None,
        Parameter(help="File that says how callers are known: peers, JWT-SVIDs, API keys, introspection."),
    ] = None
    authenticator: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="Plug-in that authenticates, by the name of its entry point."),
    ] = ()
    decider: Annotated[
        tuple[str, ...], Parameter(negative=(), help="Plug-in that decides before the policies, likewise.")
    ] = ()
    keys_stale: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=7 * 86_400),
            help="Seconds for which an issuer's last keys serve on while it does not answer.",
        ),
    ] = Timing().stale_s
    keys_cool_down: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0.1, lte=3600),
            help="Seconds between fetches of keys because a token names one that is unknown.",
        ),
    ] = Timing().cool_down_s
    decision_log: Annotated[
        str,
        Parameter(
            help="Where decisions are written: stdout, a file (a JSON object a line), otlp (as OTEL_* say), or off."
        ),
    ] = "stdout"
    log_allows: Annotated[
        float, Parameter(validator=_SHARE, help="The share of allowed requests that is written, 0 to 1.")
    ] = 0.01
    log_denies: Annotated[float, Parameter(validator=_SHARE, help="The same of denied requests.")] = 1.0
    log_attribute: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="Key, as in `when`, whose values are written as well."),
    ] = ()
    log_mask: Annotated[
        tuple[str, ...],
        Parameter(negative=(), help="Regular expression whose groups are masked in what is written."),
    ] = ()
    log_file_mib: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1, lte=1_000_000), help="Size at which the file is turned over."
        ),
    ] = 100
    log_files: Annotated[
        int, Parameter(validator=validators.Number(gte=0, lte=1000), help="Older files that are kept.")
    ] = 5

    def __post_init__(self) -> None:
        """Refuse combinations that cannot be served; SettingsError names the options."""
        # Not super(): a dataclass with slots is another class than the one that this function was written in.
        ServerSettings.__post_init__(self)
        for name, plugins in (("--authenticator", self.authenticator), ("--decider", self.decider)):
            if len(set(plugins)) < len(plugins) or not all(plugins):
                raise SettingsError(f"{name} names a plug-in twice, or none")
        try:
            Masks(self.log_mask)
        except ValueError as error:
            raise SettingsError(f"--log-mask: {error}") from None
        for key in self.log_attribute:
            try:
                parse_key(key)
            except ValueError as error:
                raise SettingsError(f"--log-attribute: {error}; known: {', '.join(KEYS)}") from None
        if not self.decision_log:
            raise SettingsError("--decision-log is empty; write off for none")
        several = self.workers > 1 and self.decision_log not in _NO_FILES
        if several and WORKER_PLACEHOLDER not in self.decision_log:
            raise SettingsError("--decision-log with --workers needs a file for each: /path/{worker}.log")

    def make_log(self) -> DecisionLog | None:
        """Return the decision log, not started yet; raises SettingsError when its file can't be written."""
        if self.decision_log == "off":
            return None
        masks = Masks(self.log_mask)
        return DecisionLog(self._sink(), masks, allows=self.log_allows, denies=self.log_denies)

    def _sink(self) -> Sink:
        if self.decision_log == "stdout":
            return StdoutSink()
        if self.decision_log == "otlp":
            return OtlpSink()
        number, _ = worker_from_environment() or (0, None)
        path = Path(self.decision_log.replace(WORKER_PLACEHOLDER, str(number)))
        try:
            return FileSink(path, max_bytes=self.log_file_mib * 1024 * 1024, keep=self.log_files)
        except OSError as error:
            raise SettingsError(f"--decision-log: {path} can't be written: {error.strerror}") from None

    @property
    def key_timing(self) -> Timing:
        """How the keys of issuers are fetched."""
        return Timing(stale_s=self.keys_stale, cool_down_s=self.keys_cool_down)

    @property
    def decisions(self) -> Options:
        """How policies decide."""
        return Options(
            root_namespace=self.root_namespace,
            trusted_hops=self.trusted_hops,
            normalization=Normalization(self.path_normalization),
            path_ambiguity=PathAmbiguity(self.path_ambiguity),
            default_action=Action(self.default_action.upper()),
        )
