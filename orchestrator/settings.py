"""The operator's settings: environment variables `ORCHESTRATOR_*`, then `orchestrator.toml`, then defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator.errors import BadSpec, FieldError
from orchestrator.policy import Policy, is_loopback


class Webhook(BaseModel):
    """A URL that the service calls when a job is over: `[[service.webhooks]]` in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+")]
    """Where to POST; never link-local or a cloud's metadata."""
    secret: SecretStr | None = None
    """What the calls are signed with (`Orchestrator-Signature`). Default: they are not signed."""
    first_retry: Annotated[float, Field(gt=0)] = 5.0
    """Seconds until a call that failed is repeated; then four times as long each time, up to an hour."""


class ServiceSettings(BaseModel):
    """How `orchestrator serve` runs: `[service]` in the file, `ORCHESTRATOR_SERVICE__HOST` and so on as variables."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on. Anything but the loopback needs tokens (`orchestrator token add`)."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8420
    """Port to listen on; 0 takes a free one."""
    store: str | None = None
    """URL of the store, `postgresql+psycopg://...` for PostgreSQL. Default: SQLite, `service.db` in `home`."""
    executor: str = "local"
    """Where the runners run: `local`, or an executor that a package registers."""
    allowed_hosts: list[str] = []
    """Names under which clients reach the service beside the address above; with any of them tokens are needed."""
    allowed_origins: list[str] = []
    """Other web pages that may use the service, e.g. `https://dashboard.example.org`."""
    require_token: bool = False
    """Ask for a token on the loopback too. Needed behind a reverse proxy on the same machine."""
    trust_local_users: bool = False
    """Take every user of this machine for the one that runs the service. Without it they need a token each."""
    max_body: Annotated[int, Field(ge=1024)] = 1 << 20
    """Largest body of a request, in bytes."""
    max_page: Annotated[int, Field(ge=1, le=1000)] = 200
    """Most items of one page of a list."""
    request_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds in which a request must have arrived whole."""
    max_connections: Annotated[int, Field(ge=1)] = 1000
    """Requests under way at once, streams among them; more are answered 503."""
    rate_per_minute: Annotated[int, Field(ge=1)] | None = 6000
    """Requests per minute of one token that names no rate of its own. None: no limit."""
    max_queued: Annotated[int, Field(ge=1)] | None = 100_000
    """Jobs that one token may have in the queue, unless it names a number of its own. None: no limit."""
    spares: Annotated[int, Field(ge=0)] = 1
    """Runners that wait with everything imported, so that as many jobs at once start without a delay; 60 MB each."""
    heartbeat_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds without a word from a runner after which it counts as lost."""
    max_running: Annotated[int, Field(ge=1)] = 64
    """Jobs that run side by side at most, those without GPUs included."""
    attempts_max: Annotated[int, Field(ge=1)] = 3
    """How often a job is started at most when its runner is lost."""
    retention_days: Annotated[float, Field(gt=0)] | None = None
    """Days that a finished job is kept. Default: for ever."""
    retention_jobs: Annotated[int, Field(ge=1)] | None = None
    """Finished jobs that are kept, the newest ones. Default: all."""
    webhooks: list[Webhook] = []
    """What to call when a job is over."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """How the service logs; `auto`: text on a terminal, else a JSON object per line."""

    @property
    def exposed(self) -> bool:
        """Whether others than the user of this machine may reach it: then every request needs a token."""
        return not is_loopback(self.host) or bool(self.allowed_hosts) or self.require_token


class Settings(BaseSettings):
    """What holds for every job on this machine."""

    model_config = SettingsConfigDict(
        env_prefix="ORCHESTRATOR_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
        frozen=True,
        extra="forbid",
    )

    home: Path = Path("~/.orchestrator")
    """Folder of everything that is kept: environments, jobs, deployments, leases."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """Number of GPUs to declare where no driver tells; limits what is leased where one does."""
    first_port: Annotated[int, Field(ge=1024, le=32767)] = 13000
    """First port that may be leased; below the kernel's ephemeral range."""
    last_port: Annotated[int, Field(ge=1024, le=32767)] = 19999
    """Last port that may be leased."""
    llama_cpp: Path | None = None
    """Folder of a built llama.cpp: what `compress` needs for schemes and models that our own conversion has not."""
    allow_trust_remote_code: bool = False
    """Whether a spec may set `trust_remote_code`."""
    service: ServiceSettings = ServiceSettings()
    """How `orchestrator serve` runs."""
    policy: Policy = Policy()
    """What the service's users may ask for."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before file; the file is `$ORCHESTRATOR_CONFIG`, else `~/.orchestrator/orchestrator.toml`."""
        file = Path(os.environ.get("ORCHESTRATOR_CONFIG", "~/.orchestrator/orchestrator.toml")).expanduser()
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    @classmethod
    def load(cls) -> Settings:
        """The settings of this process. Raises: BadSpec naming the variables or keys that are wrong."""
        try:
            return cls()
        except ValidationError as invalid:
            errors = [FieldError(".".join(map(str, detail["loc"])), detail["msg"]) for detail in invalid.errors()]
            raise BadSpec(errors, source="the settings (ORCHESTRATOR_* or orchestrator.toml)") from invalid

    @property
    def root(self) -> Path:
        """`home`, absolute."""
        return self.home.expanduser().absolute()

    @property
    def ports(self) -> range:
        """The ports that may be leased."""
        return range(self.first_port, self.last_port + 1)

    @property
    def store_url(self) -> str:
        """Where the service keeps its jobs."""
        return self.service.store or f"sqlite:///{self.root / 'service.db'}"

    @property
    def secrets(self) -> Path:
        """Folder of the files that a spec may refer to by `${file:NAME}`."""
        return (self.policy.secret_files or self.root / "secrets").expanduser().absolute()

    @property
    def environments(self) -> Path:
        """Folder of the isolated environments."""
        return self.root / "environments"

    @property
    def jobs(self) -> Path:
        """Folder with one folder per job."""
        return self.root / "jobs"

    @property
    def models(self) -> Path:
        """Folder of the models that were made by compressing others."""
        return self.root / "models"

    @property
    def deployments(self) -> Path:
        """Folder with one folder per deployment."""
        return self.root / "deployments"

    @property
    def port_leases(self) -> Path:
        """Folder of the port locks."""
        return self.root / "leases" / "ports"

    @property
    def gpu_leases(self) -> Path:
        """Folder of the GPU locks."""
        return self.root / "leases" / "gpus"
