"""The operator's settings: environment variables `ORCHESTRATOR_*`, then `orchestrator.toml`, then defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator.errors import BadSpec, FieldError


class Settings(BaseSettings):
    """What holds for every job on this machine."""

    model_config = SettingsConfigDict(
        env_prefix="ORCHESTRATOR_", use_attribute_docstrings=True, frozen=True, extra="forbid"
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
