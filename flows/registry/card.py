"""Tags of a registered version about its ticket, checked for form: whoever may write to the store may change them."""

from mlflow.entities.model_registry import ModelVersion
from pydantic import BaseModel, ConfigDict, ValidationError

from mirl.config import UserError
from mirl.names import Digest, DigestOrNone, Name


class Card(BaseModel):
    """The tags of one version."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    sha256: Digest
    """SHA-256 digest of the ticket file."""
    ticket: Name
    study: Name
    dataset: DigestOrNone = ""
    """Digest of the prepared data that the ticket was trained on."""
    density: float | None = None
    """Density over prunable weights."""
    work: float | None = None
    """Share of the multiply-accumulates that run, if the study's policy ranks by it."""
    psnr_db: float | None = None
    """Mean PSNR under the policy's protocol."""

    @classmethod
    def of(cls, version: ModelVersion) -> "Card":
        """Read the card from the tags of `version`. Raises UserError if one is missing or is not what mirl writes."""
        try:
            return cls.model_validate(version.tags)
        except ValidationError as error:
            first = error.errors()[0]
            tag = ".".join(map(str, first["loc"]))
            raise UserError(
                f"version {version.version} of {version.name} has the tag {tag} {version.tags.get(tag)!r}, which mirl does "
                "not write; look who changed it, and delete that version"
            ) from None

    def tags(self) -> dict[str, str]:
        """Return the tags as MLflow keeps them: text, from which a number is read back as the same."""
        plain = self.model_dump(exclude_none=True)
        return {key: value if isinstance(value, str) else repr(value) for key, value in plain.items()}
